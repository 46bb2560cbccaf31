"""The small parts of the core: attributes, derived properties."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from processor.core.attributes import iso_utc, values_of
from processor.core.events import IN_FLIGHT, MessageState, Outcome, Settlement
from processor.core.reasons import REASONS

STATE = MessageState(
    "m", {200: 1_700_000_000_000, 220: 1_700_000_001_005}, 220, "T", 1, "a", 1, 2, 3
)


def test_attributes_of_a_status() -> None:
    names = ("category", "code", "description", "final", "event_time", "message_id", "version")
    assert values_of(STATE, {name: name for name in names}) == {
        "category": "Delivery",
        "code": 220,
        "description": "Message delivered",
        "final": True,
        "event_time": "2023-11-14T22:13:21.005Z",
        "message_id": "m",
        "version": 2,
    }


@given(st.integers(0, 253_402_300_799_999))  # to the end of the year 9999
def test_a_time_is_written_in_utc_to_the_millisecond(at_ms: int) -> None:
    written = iso_utc(at_ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert (datetime.fromisoformat(written) - epoch) / timedelta(milliseconds=1) == at_ms


def test_times_of_a_state() -> None:
    assert STATE.event_time == STATE.last_event_time == 1_700_000_001_005


def test_a_reason_is_a_short_word_fit_for_a_label_and_belongs_to_one_stage() -> None:
    words = [word for words in REASONS.values() for word in words]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", word) and len(word) <= 20 for word in words)
    assert len(words) == len(set(words))


def test_the_parts_of_a_state_are_the_fields_that_they_are_named_for() -> None:
    state = MessageState("m", {220: 1}, 220, "t", 2, "a", 3, 4, 5, 6, 7, 8, Outcome.WRITTEN, 9, 10)
    assert list(asdict(state).values()) == [
        "m", {220: 1}, 220, "t", 2, "a", 3, 4, 5, 6, 7, 8, Outcome.WRITTEN, 9, 10
    ]  # fmt: skip
    assert state.noted(due_at=13, doubt_at=14) == replace(state, due_at=13, doubt_at=14)
    assert state.in_flight() == replace(state, due_at=IN_FLIGHT)
    settlement = Settlement("m", 11, 402, 12, Outcome.REJECTED, "LOCK")
    assert state.settled_by(settlement, due_at=13, doubt_at=14) == replace(
        state,
        settled_version=11,
        settled_code=402,
        settled_at=12,
        settled_outcome=Outcome.REJECTED,
        due_at=13,
        doubt_at=14,
    )

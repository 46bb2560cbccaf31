"""The small parts of the core: the breaker, attributes, derived properties."""

from __future__ import annotations

import pytest

from processor.core.attributes import values_of
from processor.core.breaker import Breaker
from processor.core.events import MessageState

STATE = MessageState(
    "m", {200: 1_700_000_000_000, 220: 1_700_000_001_005}, 220, "T", 1, "a", 1, 2, 3
)


@pytest.mark.parametrize(
    ("batches", "opens"),
    [
        ([[True] * 99], False),
        ([[True] * 100], True),
        ([[False] * 100 + [True] * 100], False),
        ([[False] * 100 + [True] * 101], True),
        ([[False] * 1000, [True] * 500], False),
        ([[False] * 1000, [True] * 501], True),
        ([[False, True] * 2000], False),
        ([[True] * 99, [False] * 1000, [True] * 99], False),
        ([[True] * 400 + [False] * 2000], True),
    ],
)
def test_the_breaker_opens_on_more_than_half_and_at_least_a_hundred(
    batches: list[list[bool]], opens: bool
) -> None:
    breaker = Breaker()
    for batch in batches:
        before, breaker = breaker, breaker.after(batch)
        assert before.after(batch).is_open is breaker.is_open
    assert breaker.is_open is opens


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


def test_times_of_a_state() -> None:
    assert STATE.event_time == STATE.last_event_time == 1_700_000_001_005

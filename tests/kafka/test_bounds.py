"""Whatever the decoder accepts, everything that keeps a state has room for.

A state that is in the status topic and fits nowhere else is the worst poison: it is durable, and
its partition would stop for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import Change, DeliveryEvent, MessageState
from processor.core.plan import plan
from processor.core.report.fields import (
    MAX_ACCOUNT_ID_BYTES,
    MAX_MESSAGE_ID_BYTES,
    MAX_TASK_ID_BYTES,
    Oddities,
    event_of,
)
from processor.errors import Rejected
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.avro.status_writer import MAX_STATUS_BYTES
from processor.store.codec import MAX_SHORT, pack, unpack
from processor.store.index import MAX_KEY_BYTES, MAX_ORG_BYTES, Indexer, unfit
from processor.store.store import LmdbStore
from tests.contracts.test_store import StoppedClock
from tests.kafka.avro.avro_kit import NOW, STATUS_SCHEMA
from tests.support.rules import READING, RULES

FIELDS = ("message_id", "status_code", "date_received", "metadata", "vendor_account_id")
CODEC = StatusCodec(STATUS_SCHEMA, single_object_prefix(STATUS_SCHEMA))
LONGEST_ORG = "o" * MAX_ORG_BYTES

# Of any characters, halves of them and NUL among them, and of lengths about every bound.
LENGTHS = st.sampled_from([1, 63, 64, 85, 127, 128, 254, 255, 256, 511, 512, 65_535, 65_536])
TEXTS = (
    st.text(st.characters(codec=None), max_size=300)
    | st.builds(lambda n, c: c * n, LENGTHS, st.sampled_from(["x", "\0", "é", "€", "𝄞", "\ud83d"]))
    | st.none()
)
STAMPS = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(NOW - 9, NOW + 9)


def accepted(report: dict[str, Any], record_time: int) -> Any:
    try:
        return event_of(report, record_time, READING, Oddities())
    except Rejected:
        return None


def published(*events: DeliveryEvent) -> MessageState:
    (change,) = plan(
        list(events), {}, rules=replace(RULES, require_task=False), now=NOW
    ).changes.values()
    assert change.new is not None
    return change.new


@given(TEXTS, TEXTS, TEXTS, STAMPS, st.sampled_from([-1, 0, NOW, 1 << 62]))
@example("m" * 255, "\0" * 255, "𝄞" * 63, None, NOW)
@example("m", "t" * 70_000, None, NOW, NOW)
def test_what_the_decoder_accepts_every_codec_takes(
    message_id: str | None, task_id: str | None, account_id: str | None, stamp: int | None, at: int
) -> None:
    report = {
        "message_id": message_id,
        "status_code": 220,
        "date_received": stamp,
        "metadata": {"salesforce_task_id": task_id},
        "vendor_account_id": {"account_id": account_id},
    }
    event = accepted(report, at)
    if event is None:
        return
    state = published(event)
    assert state.event_time <= NOW + 3_600_000
    key = state.message_id.encode()
    assert 0 < len(key) <= MAX_MESSAGE_ID_BYTES
    value = CODEC.encode(state)
    assert len(value) <= MAX_STATUS_BYTES
    assert CODEC.decode(value) == replace(state, due_at=0)
    assert unpack(state.message_id, pack(state)) == state
    assert unfit(state.message_id, state) is None
    writes = Indexer(lambda _: LONGEST_ORG).writes([Change(None, state)])
    for name, _ in [row for puts in writes.puts for row in puts] + writes.state_puts:
        assert len(name) <= MAX_KEY_BYTES


def longest() -> MessageState:
    """Every text as long as it may be, every code seen, every time as late as it may be."""
    events = [
        DeliveryEvent("m" * MAX_MESSAGE_ID_BYTES, code, NOW, NOW,
                      "t" * MAX_TASK_ID_BYTES, "a" * MAX_ACCOUNT_ID_BYTES)
        for code in CODES
    ]  # fmt: skip
    return replace(published(*events), version=(1 << 32) - 1, version_at=1 << 62)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    store = LmdbStore(
        tmp_path, "topic", clock=StoppedClock(NOW), delete_retention_ms=1_000,
        org_of=lambda _: LONGEST_ORG,
    )  # fmt: skip
    store.open(0)
    yield store
    store.close(0)


def test_the_longest_state_there_can_be_has_room_everywhere(store: LmdbStore) -> None:
    state = longest()
    assert len(CODEC.encode(state)) <= MAX_STATUS_BYTES
    store.load(0, [(state.message_id, state)], 1)
    assert store.get_many(0, [state.message_id]) == {state.message_id: state}
    assert [row.message_id for _, row in store.due(LONGEST_ORG, NOW * 2, 9)] == [state.message_id]


def test_the_bounds_leave_room_for_one_another() -> None:
    assert max(MAX_TASK_ID_BYTES, MAX_ACCOUNT_ID_BYTES) <= MAX_SHORT
    assert 1 + MAX_ORG_BYTES + 8 + MAX_MESSAGE_ID_BYTES <= MAX_KEY_BYTES

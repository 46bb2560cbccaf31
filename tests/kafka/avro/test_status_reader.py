"""The short way of reading a status: whatever it accepts, fastavro reads the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import MessageState, Outcome
from processor.errors import Rejected
from processor.kafka.avro.framing import confluent_prefix, single_object_prefix
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.avro.status_writer import status_bytes
from tests.kafka.avro.avro_kit import NOW, STATUS_SCHEMA

PREFIX = single_object_prefix(STATUS_SCHEMA)
REGISTERED = confluent_prefix(7)
CODEC = StatusCodec(STATUS_SCHEMA, REGISTERED)
STATE = MessageState(
    "0b81a1f3-6e6c-4b52-a5d4-0c8f1b5f4b5e", {101: NOW - 9, 220: NOW}, 220, "00T1", NOW - 9,
    "a", NOW, 3, NOW + 1, 2, 101, NOW + 2, Outcome.WRITTEN,
)  # fmt: skip
VALUE = CODEC.encode(STATE)
BODY = VALUE[len(REGISTERED) :]

CODE = st.sampled_from(sorted(CODES))
ORDINARY = st.integers(NOW - 10**11, NOW + 10**11)
TIMES = ORDINARY | st.just(0) | st.integers(0, 2**63 - 1)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=70)
NUMBERS = st.integers(0, 20_000) | st.integers(0, 2**62)


@st.composite
def states(draw: st.DrawFn) -> MessageState:
    history = draw(st.dictionaries(CODE, TIMES, min_size=1, max_size=8))
    return MessageState(
        draw(IDS), history, draw(st.sampled_from(sorted(history))),
        draw(st.none() | IDS), draw(TIMES), draw(st.none() | IDS), draw(TIMES),
        draw(NUMBERS), draw(TIMES),
        draw(NUMBERS), draw(st.just(0) | CODE), draw(TIMES), draw(st.sampled_from(Outcome)),
    )  # fmt: skip


def by_fastavro(value: bytes) -> MessageState | None:
    """What the codec makes of it without the short way; None: it is refused."""
    codec = StatusCodec(STATUS_SCHEMA, REGISTERED)
    codec._own = frozenset()
    try:
        return codec.decode(value)
    except Rejected:
        return None


def straight(value: bytes, start: int) -> MessageState | None:
    """None: the short way is not for this."""
    return CODEC._straight.read(value, start)


@given(states())
def test_any_state_comes_back_whichever_way_it_takes(state: MessageState) -> None:
    value = status_bytes(PREFIX, state)
    assert straight(value, len(PREFIX)) in (state, None)
    assert by_fastavro(value) == CODEC.decode(value) == state


@pytest.mark.parametrize(
    "state",
    [
        STATE,
        replace(STATE, account_id=None, account_at=0, task_id=None, task_at=0),
        replace(STATE, settled_version=0, settled_code=0, settled_at=0, settled_outcome=Outcome(0)),
        replace(STATE, version=5_000, settled_version=4_999, settled_outcome=Outcome.REJECTED),
        replace(STATE, history=dict.fromkeys(sorted(CODES)[:60], NOW), code=min(CODES)),
    ],
)
def test_an_ordinary_status_takes_the_short_way(state: MessageState) -> None:
    assert straight(CODEC.encode(state), len(REGISTERED)) == state


def test_the_short_way_is_taken_with_either_framing_of_our_schema_and_no_other() -> None:
    assert CODEC._own == {PREFIX, REGISTERED}
    assert CODEC.decode(status_bytes(PREFIX, STATE)) == CODEC.decode(VALUE) == STATE


# One to three bytes changed, put in or taken away, at any place of an ordinary value.
DAMAGE = st.lists(
    st.tuples(st.integers(0, len(BODY) - 1), st.binary(max_size=3), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)


@given(DAMAGE)
@example([(len(BODY) - 1, b"\x06", 1)])
@example([(len(BODY) - 1, b"", 1)])
@example([(0, b"\x81\x00", 1)])
def test_of_damaged_bytes_it_accepts_nothing_that_fastavro_reads_otherwise(
    damage: list[tuple[int, bytes, int]],
) -> None:
    body = bytearray(BODY)
    for place, put, taken in damage:
        body[place : place + taken] = put
    value = REGISTERED + bytes(body)
    accepted = straight(value, len(REGISTERED))
    assert accepted is None or accepted == by_fastavro(value)


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_value_that_ends_too_early_is_left_to_fastavro(cut: int) -> None:
    assert straight(REGISTERED + BODY[:cut], len(REGISTERED)) is None

"""How a dead letter is written, and how an event that was one is read when it is sent back."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.commands.produce.events import EventEncoder
from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.dead_letters import EVENT_TIME, Letter, of_record, of_status
from processor.ports import DeadLetter
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, NOW, report
from tests.support.parts import framed_decoder

Headers = list[tuple[str, bytes | None]]

LATER = NOW + 30 * 86_400_000
ENCODER = EventEncoder(EVENT_SCHEMA, single_object_prefix(EVENT_SCHEMA))
TOO_LATE = DeadLetter("collapse", "too_late", "", 0)


class Lying(NamedTuple):
    """A record as it lies in Kafka."""

    payload: bytes | None
    time: tuple[int, int] = (1, NOW)
    own: Headers | None = None
    name: bytes | None = b"key"
    place: int = 7

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return 0

    def offset(self) -> int | None:
        return self.place

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.payload

    def headers(self) -> Headers | None:
        return self.own

    def timestamp(self) -> tuple[int, int]:
        return self.time


def sent_back(letter: Letter, at: int = LATER) -> Lying:
    """The letter's key, value and headers, produced to the events topic by an ordinary tool."""
    return Lying(letter.value, (1, at), raw(letter), letter.key, place=8)


def raw(letter: Letter) -> Headers:
    return [(n, v.encode() if isinstance(v, str) else v) for n, v in letter.headers]


def decoded(record: Lying) -> DeliveryEvent:
    (event,) = framed_decoder().decode([record])
    assert not isinstance(event, Rejection)
    return event


def told(letter: Letter) -> dict[str, bytes | None]:
    found = dict(raw(letter))
    assert len(found) == len(letter.headers), "a header is there twice"
    return found


def test_a_letter_is_stamped_when_it_is_written_and_tells_the_events_own_time() -> None:
    letter = of_record(TOO_LATE, Lying(b"value", (1, NOW)), 1_000_000)
    assert letter.timestamp_ms == 0  # the producer's present
    assert told(letter)[EVENT_TIME] == str(NOW).encode()


@pytest.mark.parametrize("time", [(0, -1), (1, -1)])
def test_of_an_event_without_a_time_none_is_told(time: tuple[int, int]) -> None:
    assert EVENT_TIME not in told(of_record(TOO_LATE, Lying(b"value", time), 1_000_000))


@pytest.mark.parametrize(
    "stamps",
    [
        {},  # in the report's past
        {"date_received": None, "submitted_date": None},
        {"date_received": 0, "submitted_date": None},
        {"date_received": LATER + 86_400_000},
        {"date_received": NOW, "submitted_date": None},
    ],
)
def test_an_event_that_is_sent_back_is_ordered_as_if_it_had_been_usable_at_first(
    stamps: dict[str, int | None],
) -> None:
    first = Lying(ENCODER.encode(report(**stamps)))
    letter = of_record(TOO_LATE, first, 1_000_000)
    again = sent_back(of_record(TOO_LATE, sent_back(letter), 1_000_000), LATER + 1)
    for record in (sent_back(letter), again):
        assert decoded(record).event_time == decoded(first).event_time


@pytest.mark.parametrize("header", [b"", None, b"soon", b"-1", b"12", b"9" * 40, b"99999999999999"])
def test_a_time_in_the_header_that_can_not_be_is_none(header: bytes | None) -> None:
    value = ENCODER.encode(report(date_received=None, submitted_date=None))
    assert decoded(Lying(value, (1, LATER), [(EVENT_TIME, header)])).event_time == LATER


def test_a_second_letter_tells_where_the_event_lies_now_and_when_it_was_first_there() -> None:
    first = of_record(TOO_LATE, Lying(b"value", own=[("trace", b"1")]), 1_000_000)
    second = told(of_record(TOO_LATE, sent_back(first), 1_000_000))
    assert second["trace"] == b"1"
    assert second["__connect.errors.offset"] == b"8"
    assert second[EVENT_TIME] == str(NOW).encode()


def test_a_refused_row_names_its_status_record_under_no_name_of_connects() -> None:
    letter = DeadLetter("salesforce", "ENTITY_IS_DELETED", "", 3)
    headers = told(of_status(letter, "m", b"status", "statuses", 41, 1_000_000))
    assert headers == {
        "processor.status.topic": b"statuses",
        "processor.status.partition": b"3",
        "processor.status.offset": b"41",
        "__connect.errors.stage": b"salesforce",
        "__connect.errors.exception.class.name": b"ENTITY_IS_DELETED",
        "__connect.errors.exception.message": b"ENTITY_IS_DELETED",
    }


@given(
    value=st.none() | st.integers(0, 3_000).map(bytes),
    key=st.none() | st.integers(0, 3_000).map(bytes),
    own=st.lists(st.tuples(st.text(max_size=20), st.none() | st.integers(0, 900).map(bytes))),
    most=st.integers(1_000, 5_000),
)
def test_a_letter_fits_its_topic_whatever_the_event_was(
    value: bytes | None, key: bytes | None, own: Headers, most: int
) -> None:
    record = Lying(value, own=own, name=key)
    letter = of_record(TOO_LATE, record, most)
    headers = raw(letter)
    size = sum(len(name.encode()) + len(told or b"") + 10 for name, told in headers)
    assert size + len(letter.key or b"") + len(letter.value or b"") + 100 <= most
    names = {name for name, _ in headers}
    assert (letter.value == value) or "processor.truncated" in names
    assert (letter.key == key) or "processor.truncated.key" in names
    kept = headers[: len(own)] == own
    assert kept or "processor.truncated.headers" in names or _ours(own)


def _ours(own: Headers) -> bool:
    return any(name.startswith(("__connect.errors.", "processor.")) for name, _ in own)

"""Records that can't be used, as they are written to the dead-letter topic.

The headers of an event are named as Kafka Connect names them, so that existing tools read them:
such a tool sends a letter back to the topic, partition and offset that they tell. A refused row's
letter is a status and not an event, and must never be sent back to the status topic: where it
comes from is told in headers of our own.

A letter carries the time when it was written, because its topic's retention is for letters and
not for events. The event's own time is in a header, by which an event that was sent back is
ordered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from processor.core.events import DeliveryEvent
from processor.core.report.fields import EARLIEST_STAMP
from processor.kafka.headers import headers_of
from processor.ports import DeadLetter, RawRecord

PREFIX: Final = "__connect.errors."
STATUS_PREFIX: Final = "processor.status."  # topic, partition, offset of a refused row's status
EVENT_TIME: Final = "processor.event.timestamp_ms"  # of the event's record, at its first time here
TRUNCATED: Final = "processor.truncated"  # how many bytes the value had
TRUNCATED_HEADERS: Final = "processor.truncated.headers"  # how many the record's own headers had
TRUNCATED_KEY: Final = "processor.truncated.key"  # how many the key had
DEFAULT_MAX_BYTES: Final = 1_048_588  # Kafka's default of max.message.bytes
_OVERHEAD: Final = 200  # of a record and its batch, beside key, value and headers
_HEADER_OVERHEAD: Final = 10  # lengths of a header's name and value, at most
_NOTES: Final = 160  # bytes to keep for the three headers that tell of a cut
_TIME: Final = re.compile(rb"[0-9]{12,15}")  # in milliseconds
_NOW: Final = 0  # a timestamp that the producer replaces by the present

Headers = list[tuple[str, str | bytes | None]]


class Letter(NamedTuple):
    """One record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int = _NOW


def of_record(letter: DeadLetter, record: RawRecord, max_bytes: int) -> Letter:
    """The raw record as it was; cut where the topic could not hold it."""
    own: Headers = [pair for pair in headers_of(record) if not _is_of_a_letter(pair[0])]
    place = _place(PREFIX, record.topic() or "", letter.partition, record.offset())
    headers: Headers = [*place, *_why(letter)]
    event_time = _event_time(record)
    if event_time is not None:
        headers.append((EVENT_TIME, str(event_time)))
    return _fitted(record.key(), record.value(), own, headers, max_bytes)


def of_status(
    letter: DeadLetter,
    message_id: str,
    value: bytes,
    status_topic: str,
    offset: int | None,
    max_bytes: int,
) -> Letter:
    """A row that Salesforce refused: the status record that says so, and where it lies."""
    place = _place(STATUS_PREFIX, status_topic, letter.partition, offset)
    return _fitted(message_id.encode(), value, [], [*place, *_why(letter)], max_bytes)


def as_first_seen(event: DeliveryEvent, record: RawRecord) -> DeliveryEvent:
    """An event that was a dead letter and was sent back, with the record's time that it had before.

    Needed only where the record's time is the event's: headers are slow to read, and any other
    event is ordered by a stamp in its value, which went with the letter.
    """
    first = _told_time(record)
    if first is None or first >= event.record_time:
        return event
    return DeliveryEvent(
        event.message_id, event.code, first, first, event.task_id, event.account_id
    )


def _event_time(record: RawRecord) -> int | None:
    kind, timestamp = record.timestamp()
    present = None if kind == TIMESTAMP_NOT_AVAILABLE or timestamp < 0 else timestamp
    told = _told_time(record)
    return present if told is None else told


def _told_time(record: RawRecord) -> int | None:
    """What the header of an earlier letter says. None: nothing that a clock can have told."""
    for name, value in headers_of(record):
        if name == EVENT_TIME and value is not None and _TIME.fullmatch(value):
            told = int(value)
            return told if told >= EARLIEST_STAMP else None
    return None


def _place(prefix: str, topic: str, partition: int, offset: int | None) -> Headers:
    place: Headers = [(f"{prefix}topic", topic), (f"{prefix}partition", str(partition))]
    return place if offset is None else [*place, (f"{prefix}offset", str(offset))]


def _why(letter: DeadLetter) -> Headers:
    return [
        (f"{PREFIX}stage", letter.stage),
        (f"{PREFIX}exception.class.name", letter.reason),
        (f"{PREFIX}exception.message", letter.detail or letter.reason),
    ]


def _is_of_a_letter(name: str) -> bool:
    """Whether a header was ours when the record was a dead letter before: it is told anew."""
    return name.startswith((PREFIX, TRUNCATED)) or name == EVENT_TIME


def _fitted(
    key: bytes | None, value: bytes | None, own: Headers, ours: Headers, max_bytes: int
) -> Letter:
    """The value is cut first; where that is not enough the record's own headers go, then the
    key is cut. What a topic can't hold must not keep the events behind it from being read.
    """
    room = max_bytes - _OVERHEAD - _size(ours)
    if _size(own) + len(key or b"") + len(value or b"") <= room:
        return Letter(key, value, [*own, *ours])
    room = max(0, room - _NOTES)
    notes: Headers = []
    if own and _size(own) + len(key or b"") > room:
        notes.append((TRUNCATED_HEADERS, str(_size(own))))
        own = []
    if key is not None and len(key) > room:
        notes.append((TRUNCATED_KEY, str(len(key))))
        key = key[:room]
    if value is not None:
        left = room - _size(own) - len(key or b"")
        if len(value) > left:
            notes.append((TRUNCATED, str(len(value))))
            value = value[:left]
    return Letter(key, value, [*own, *ours, *notes])


def _size(headers: Sequence[tuple[str, str | bytes | None]]) -> int:
    total = 0
    for name, value in headers:
        raw = value.encode() if isinstance(value, str) else value or b""
        total += len(name.encode()) + len(raw) + _HEADER_OVERHEAD
    return total

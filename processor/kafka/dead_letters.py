"""Records that can't be used, as they are written to the dead-letter topic.

The headers are named as Kafka Connect names them, so that existing tools read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from processor.ports import DeadLetter, RawRecord

PREFIX: Final = "__connect.errors."
TRUNCATED: Final = "processor.truncated"  # its value: how many bytes the original had
DEFAULT_MAX_BYTES: Final = 1_048_588  # Kafka's default of max.message.bytes
_OVERHEAD: Final = 200  # of a record and its batch, beside key, value and headers
_HEADER_OVERHEAD: Final = 10  # lengths of a header's name and value, at most

Headers = list[tuple[str, str | bytes | None]]


class Letter(NamedTuple):
    """One record for the dead-letter topic."""

    key: bytes | str | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


def _headers(letter: DeadLetter, topic: str, partition: int, offset: int | None) -> Headers:
    return [
        (f"{PREFIX}topic", topic),
        (f"{PREFIX}partition", str(partition)),
        *([] if offset is None else [(f"{PREFIX}offset", str(offset))]),
        (f"{PREFIX}stage", letter.stage),
        (f"{PREFIX}exception.class.name", letter.reason),
        (f"{PREFIX}exception.message", letter.detail or letter.reason),
    ]


def of_record(letter: DeadLetter, record: RawRecord, max_bytes: int) -> Letter:
    """The raw record as it was; its value cut where the topic could not hold it."""
    kind, timestamp = record.timestamp()
    headers: Headers = [
        *(record.headers() or []),
        *_headers(letter, record.topic() or "", letter.partition, record.offset()),
    ]
    key, value = record.key(), record.value()
    if value is not None:
        room = max_bytes - _OVERHEAD - len(key or b"") - _size(headers)
        if len(value) > room:
            headers.append((TRUNCATED, str(len(value))))
            value = value[: max(0, room - _size(headers[-1:]))]
    return Letter(key, value, headers, 0 if kind == TIMESTAMP_NOT_AVAILABLE else max(0, timestamp))


def of_status(
    letter: DeadLetter, message_id: str, value: bytes, status_topic: str, offset: int | None
) -> Letter:
    """A row that Salesforce refused: the status record that says so, and where it lies."""
    headers = _headers(letter, status_topic, letter.partition, offset)
    return Letter(message_id, value, headers, 0)


def _size(headers: Sequence[tuple[str, str | bytes | None]]) -> int:
    total = 0
    for name, value in headers:
        raw = value.encode() if isinstance(value, str) else value or b""
        total += len(name.encode()) + len(raw) + _HEADER_OVERHEAD
    return total

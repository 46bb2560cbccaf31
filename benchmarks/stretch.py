"""Traffic without end, made fast: one stretch of the model, lived again and again by others.

The model takes longer to make an event than the worker takes to process it. So a stretch of it is
made and encoded once. Each repetition has message ids and Task ids of its own, and its times
follow on; a repetition begins while the last messages of the one before are still on their way,
as in the model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from processor.commands.produce.events import EventEncoder
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.sandbox.traffic.generator import (
    TASK_KEY,
    Mix,
    Poison,
    Report,
    Traffic,
    spoiled,
)

START_MS: Final = 1_750_000_000_000
_DATES: Final = ("date_received", "submitted_date")  # neighbours in the schema
_TASK_NUMBER: Final = slice(7, 11)  # of a Task's id: zeros, as long as a stretch is no longer
_MAX_REPETITIONS: Final = 10_000
_MAX_MESSAGES: Final = 62**4


class FedRecord(NamedTuple):
    """One record for the events topic. `first`: no earlier one was of its message."""

    key: str
    value: bytes | None
    timestamp_ms: int
    poisoned: bool
    first: bool


class _Piece(NamedTuple):
    """A report of the stretch, cut where its repetitions differ.

    `lap`: how many lengths of the stretch after its beginning it arrives. `poison`: see `Report`.
    """

    lap: int
    timestamp_ms: int
    key: str
    head: Sequence[bytes]
    dates: Sequence[int | None]
    tail: Sequence[bytes]
    poison: Poison | None
    first: bool


class Stretch:
    """The records of so many messages of the model, and of as many others after them, and so on."""

    def __init__(
        self, messages: int, seed: int, messages_per_s: float, start_ms: int = START_MS
    ) -> None:
        assert messages <= _MAX_MESSAGES
        self._random = random.Random(seed)
        self._length_ms = int(messages * 1000 / messages_per_s)
        self._start_ms = start_ms
        traffic = Traffic(
            messages, seed, mix=Mix(), start_ms=start_ms, messages_per_s=messages_per_s
        )
        self._pieces = self._cut(traffic)

    def records(self) -> Iterator[FedRecord]:
        """In the order of arrival."""
        names: list[tuple[int, bytes]] = []
        for repetition in range(_MAX_REPETITIONS):
            mask = self._random.getrandbits(32) if repetition else 0
            names.append((mask, b"%04d" % repetition))
            for piece in self._pieces:
                own = repetition - piece.lap
                if own >= 0:
                    yield _repeated(piece, own * self._length_ms, *names[own])

    def _cut(self, traffic: Traffic) -> list[_Piece]:
        cutter = _Cutter()
        seen: set[str] = set()
        pieces = []
        for report in traffic:
            lap = (report.timestamp_ms - self._start_ms) // self._length_ms
            pieces.append(cutter.cut(report, lap, first=report.key not in seen))
            seen.add(report.key)
        pieces.sort(key=lambda piece: piece.timestamp_ms - piece.lap * self._length_ms)
        return pieces


class _Cutter:
    def __init__(self) -> None:
        text = schema_text("delivery_event.avsc")
        schema = json.loads(text)
        names = [field["name"] for field in schema["fields"]]
        begin = names.index(_DATES[0])
        end = begin + len(_DATES)
        assert tuple(names[begin:end]) == _DATES
        head = schema | {"fields": schema["fields"][:begin]}
        tail = schema | {"fields": schema["fields"][end:]}
        self._head = EventEncoder(json.dumps(head), single_object_prefix(text))
        self._tail = EventEncoder(json.dumps(tail), b"")

    def cut(self, report: Report, lap: int, *, first: bool) -> _Piece:
        event = report.event
        head, tail = self._head.encode(event), self._tail.encode(event)
        task_id = event["metadata"].get(TASK_KEY, "")
        return _Piece(
            lap,
            report.timestamp_ms,
            report.key,
            head.split(event["message_id"][:8].encode(), 1) if event["message_id"] else [head],
            [event[name] for name in _DATES],
            _around(tail, task_id.encode()),
            report.poison,
            first,
        )


def _around(tail: bytes, task_id: bytes) -> list[bytes]:
    """What stands before and after the number in a Task's id; all of it where there is none."""
    if not task_id:
        return [tail]
    assert task_id[_TASK_NUMBER] == b"0000"
    begin = tail.index(task_id)
    return [tail[: begin + _TASK_NUMBER.start], tail[begin + _TASK_NUMBER.stop :]]


def _repeated(piece: _Piece, later_ms: int, mask: int, number: bytes) -> FedRecord:
    # The first eight digits of an id stay as random as they were: a store that is sorted by them
    # must not find the messages of one repetition side by side.
    _, timestamp_ms, key, head, dates, tail, poison, first = piece
    digits = f"{int(key[:8], 16) ^ mask:08x}"
    value: bytes | None = b"".join(
        (
            digits.encode().join(head),
            _stamp(dates[0], later_ms),
            _stamp(dates[1], later_ms),
            number.join(tail),
        )
    )
    if poison is not None:
        assert value is not None
        value = spoiled(poison, value)
    return FedRecord(digits + key[8:], value, timestamp_ms + later_ms, poison is not None, first)


def _stamp(at: int | None, later_ms: int) -> bytes:
    """A nullable time as Avro writes it: the branch, and a zigzag varint."""
    if at is None:
        return b"\x00"
    rest = (at + later_ms) << 1
    encoded = bytearray(b"\x02")
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)

"""The bytes of `delivery_status.avsc` as we write them -> a message's state, read straight down.

A restore decodes every status of a partition, which was half of its time: fastavro, and making
a state of its dict, take 6.6 us for what takes 4.8 here. It is a shortcut and never a judge: it
knows our own schema, one block of history, ids of less than 64 bytes, and times of this century
(six bytes). Where a value is not plainly so it raises, and the caller lets fastavro read it. A
law (tests/kafka/avro/test_status_reader.py): whatever it accepts, fastavro reads the same.

A time's bytes are looked up in two halves: the lowest 14 bits in a table, and the rest, which the
times around it share, in one that fills itself.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from processor.core.events import MessageState, Outcome
from processor.kafka.avro.status_writer import KEYS, MEANINGS, long

NEEDS_FASTAVRO: Final = (IndexError, KeyError, ValueError, struct.error)
"""What `read_status` raises where fastavro has to look (UnicodeDecodeError is a ValueError)."""

_MORE: Final = 0x80  # set in every byte of a number but its last
_NOT_A_SHORT_SIZE: Final = 0x81  # below zero, or of more than one byte
_TIME_SIZE: Final = 6
_KEY_SIZE: Final = 4
_ENTRY_SIZE: Final = _KEY_SIZE + _TIME_SIZE
_MAX_HISTORY: Final = 64
_TAILS_KEPT: Final = 65_536  # each stands for 8 seconds of time: six days of them
_time: Final = Struct("<HI").unpack_from  # the bytes of a time: its first two, and the other four
_HISTORIES: Final = [Struct("<" + f"{_KEY_SIZE}sHI" * n).unpack_from for n in range(_MAX_HISTORY)]

_LOW: Final = {
    first | second << 8: (first & 0x7F | (second & 0x7F) << 7) >> 1
    for first in range(_MORE, 256, 2)  # the lowest bit is the sign
    for second in range(_MORE, 256)
}
_NUMBERS: Final = {key: number for number, key in KEYS.items()}
_BY_CODE: Final = {long(number): (number, meaning) for number, meaning in MEANINGS.items()}
_OUTCOMES: Final = {outcome << 1: outcome for outcome in Outcome}

_new_state: Final = tuple.__new__


class _Rest(dict[int, int]):
    """The last four bytes of a time -> what they add to it."""

    def __missing__(self, raw: int) -> int:
        a, b, c, d = raw.to_bytes(4, "little")
        if not a & b & c & _MORE or d & _MORE or d == 0:
            raise ValueError(raw)
        if len(self) >= _TAILS_KEPT:
            self.clear()
        rest = a & 0x7F | (b & 0x7F) << 7 | (c & 0x7F) << 14 | d << 21
        number = self[raw] = rest << 13
        return number


_REST: Final = _Rest()


def read_status(b: bytes, p: int) -> MessageState:
    """The state in a value, whose record begins at `p`. Raises one of NEEDS_FASTAVRO."""
    low, rest, time = _LOW, _REST, _time
    size = b[p]
    start, p = p + 1, p + 1 + (size >> 1)
    message_id = b[start:p].decode()
    also = b[p]
    start, p = p + 1, p + 1 + (also >> 1)
    account_id = b[start:p].decode() or None
    size |= also
    account_at = 0
    if b[p]:
        head, tail = time(b, p)
        account_at = low[head] + rest[tail]
        p += _TIME_SIZE - 1
    also = b[p + 1]
    start, p = p + 2, p + 2 + (also >> 1)
    task_id = b[start:p].decode() or None
    if (size | also) & _NOT_A_SHORT_SIZE:
        raise ValueError(size)
    task_at = 0
    if b[p]:
        head, tail = time(b, p)
        task_at = low[head] + rest[tail]
        p += _TIME_SIZE - 1
    p += 1
    code, meaning = _BY_CODE[b[p : p + 2]]
    if not b.startswith(meaning, p):
        raise ValueError(code)
    p += len(meaning)
    head, tail = time(b, p)  # of the event: the history has it too
    if low[head] + rest[tail] < 0:
        raise ValueError(p)
    history, p = _history(b, p + _TIME_SIZE)
    if b[p] or code not in history:
        raise ValueError(code)
    version, p = _number(b, p + 1)
    head, tail = time(b, p)
    version_at = low[head] + rest[tail]
    settled_version, p = _number(b, p + _TIME_SIZE)
    settled_code, p = _number(b, p)
    settled_at = 0
    if b[p]:
        head, tail = time(b, p)
        settled_at = low[head] + rest[tail]
        p += _TIME_SIZE - 1
    outcome = _OUTCOMES[b[p + 1]]
    if p + 2 != len(b):
        raise ValueError(p)
    return _new_state(
        MessageState,
        (message_id, history, code, task_id, task_at, account_id, account_at,
         version, version_at, settled_version, settled_code, settled_at, outcome, 0, 0),
    )  # fmt: skip


def _history(b: bytes, p: int) -> tuple[dict[int, int], int]:
    """A map of one block, and where that ends."""
    if b[p] & 1:
        raise ValueError(p)
    n = b[p] >> 1
    entries = _HISTORIES[n](b, p + 1)
    history = {
        _NUMBERS[key]: _LOW[head] + _REST[tail]
        for key, head, tail in zip(entries[::3], entries[1::3], entries[2::3], strict=True)
    }
    return history, p + 1 + n * _ENTRY_SIZE


def _number(b: bytes, p: int) -> tuple[int, int]:
    """A small number, not below zero, and where it ends."""
    first = b[p]
    if first & 1:
        raise ValueError(first)
    if first < _MORE:
        return first >> 1, p + 1
    second = b[p + 1]
    if second >= _MORE:
        raise ValueError(second)
    return (first & 0x7F | second << 7) >> 1, p + 2

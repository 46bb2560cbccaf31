"""How the local store packs a message's state: fixed fields, history, strings.

    n history entries | lengths of task_id, account_id | code | settled_code | flags
    | eight numbers | n codes | n times | task_id utf-8 | account_id utf-8

Little-endian: two bytes each, one for the flags, eight for numbers and times. The message id is the
key and is not repeated. A change to this layout, or to which codes are final, is a new `FORMAT`: a
store of another format is wiped when it is opened.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i16_le, read_i64_le, write_i16_le, write_i64_le
from mypy_extensions import i16, i64

from processor.core.events import OUTCOMES, MessageState
from processor.errors import StoreFailed

FORMAT: Final = 3
MAX_SHORT: Final = (1 << 15) - 1  # a number of two bytes; also the length of a Task id
_MAX_VERSION: Final = (1 << 32) - 1

_HAS_TASK: Final = 4
_HAS_ACCOUNT: Final = 8
_OUTCOME_BITS: Final = 3
_FLAGS_AT: Final = 10
_NUMBERS_AT: Final = 11
_HISTORY_AT: Final = _NUMBERS_AT + 8 * 8
_CODE_BYTES: Final = 2
_TIME_BYTES: Final = 8


def pack(state: MessageState) -> bytes:
    """The state without its message id. Raises StoreFailed for a value that has no place."""
    history = state.history
    flags: i64 = int(state.settled_outcome)
    task = account = b""
    try:
        if state.task_id is not None:
            task = state.task_id.encode()
            flags |= _HAS_TASK
        if state.account_id is not None:
            account = state.account_id.encode()
            flags |= _HAS_ACCOUNT
    except UnicodeEncodeError as failure:
        raise StoreFailed(f"a state does not fit the local store: {failure}") from failure
    out = BytesWriter()
    _put_short(out, len(history))
    _put_short(out, len(task))
    _put_short(out, len(account))
    _put_short(out, state.code)
    _put_short(out, state.settled_code)
    out.append(flags)
    write_i64_le(out, state.task_at)
    write_i64_le(out, state.account_at)
    _put_version(out, state.version)
    write_i64_le(out, state.version_at)
    _put_version(out, state.settled_version)
    write_i64_le(out, state.settled_at)
    write_i64_le(out, state.due_at)
    write_i64_le(out, state.doubt_at)
    for code in history:
        _put_short(out, code)
    for at in history.values():
        write_i64_le(out, at)
    out.write(task)
    out.write(account)
    return out.getvalue()


def _put_short(out: BytesWriter, number: i64) -> None:
    if not 0 <= number <= MAX_SHORT:
        raise StoreFailed(f"a state does not fit the local store: {number} has no place")
    write_i16_le(out, i16(number))


def _put_version(out: BytesWriter, number: i64) -> None:
    """One that only grows by one is far below that: a greater is no version of ours."""
    if not 0 <= number <= _MAX_VERSION:
        raise StoreFailed(f"a state does not fit the local store: a version of {number}")
    write_i64_le(out, number)


def unpack(message_id: str, value: bytes) -> MessageState:
    """The state that `pack` was given. Raises StoreFailed when the bytes can't be one."""
    try:
        return _unpacked(message_id, value)
    except (IndexError, ValueError) as failure:  # UnicodeDecodeError is one
        raise StoreFailed(f"a value of the local store is corrupt: {failure}") from failure


def _unpacked(message_id: str, value: bytes) -> MessageState:
    n = i64(read_i16_le(value, 0))
    task_size = i64(read_i16_le(value, 2))
    account_size = i64(read_i16_le(value, 4))
    code = i64(read_i16_le(value, 6))
    settled_code = i64(read_i16_le(value, 8))
    flags: i64 = value[_FLAGS_AT]
    times_at = _HISTORY_AT + _CODE_BYTES * n
    task_at: i64 = times_at + _TIME_BYTES * n
    account_at: i64 = task_at + task_size
    version = read_i64_le(value, _NUMBERS_AT + 16)
    settled_version = read_i64_le(value, _NUMBERS_AT + 32)
    if min(n, task_size, account_size, settled_code) < 0 or len(value) != account_at + account_size:
        raise ValueError("its parts do not add up")
    if not (0 <= version <= _MAX_VERSION and 0 <= settled_version <= _MAX_VERSION):
        raise ValueError("its version is none")
    history: dict[int, int] = {}
    for index in range(n):
        seen = i64(read_i16_le(value, _HISTORY_AT + _CODE_BYTES * index))
        history[seen] = read_i64_le(value, times_at + _TIME_BYTES * index)
    if code not in history or len(history) != n:
        raise ValueError("its history is of other codes")
    return MessageState(
        message_id,
        history,
        code,
        value[task_at:account_at].decode() if flags & _HAS_TASK else None,
        read_i64_le(value, _NUMBERS_AT),
        value[account_at:].decode() if flags & _HAS_ACCOUNT else None,
        read_i64_le(value, _NUMBERS_AT + 8),
        version,
        read_i64_le(value, _NUMBERS_AT + 24),
        settled_version,
        settled_code,
        read_i64_le(value, _NUMBERS_AT + 40),
        OUTCOMES[flags & _OUTCOME_BITS],
        read_i64_le(value, _NUMBERS_AT + 48),
        read_i64_le(value, _NUMBERS_AT + 56),
    )


def unpack_all(rows: list[tuple[bytes, bytes]], names: dict[bytes, str]) -> dict[str, MessageState]:
    """The states of packed rows, by message id. `names`: the message id of each key."""
    states: dict[str, MessageState] = {}
    for key, value in rows:
        message_id = names[key]
        states[message_id] = unpack(message_id, value)
    return states

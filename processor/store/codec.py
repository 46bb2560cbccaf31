"""How the local store packs a message's state: fixed fields and history by struct, then strings.

    n history entries | flags | lengths of task_id, account_id | fixed fields
    | n codes | n times | task_id utf-8 | account_id utf-8

Little-endian, without padding. The message id is the key and is not repeated. A change to this
layout, or to which codes are final, is a new `FORMAT`: a store of another format is wiped when it
is opened.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final

from mypy_extensions import i64

from processor.core.codes import MAX_CODE, MIN_CODE
from processor.core.events import MessageState, Outcome
from processor.errors import StoreFailed

FORMAT: Final = 2
MAX_TEXT_BYTES: Final = (1 << 16) - 1  # of a Task id or account id: its length is a `H`

_FIXED: Final = "<HBHHHqqIqIHqqq"
_HAS_TASK: Final = 4
_HAS_ACCOUNT: Final = 8
_OUTCOME_BITS: Final = 3
_OUTCOMES: Final = (Outcome.NONE, Outcome.WRITTEN, Outcome.REJECTED)
_FIXED_FIELDS: Final = 14
_STRUCTS: Final = [Struct(f"{_FIXED}{n}H{n}q") for n in range(MAX_CODE - MIN_CODE + 2)]


def pack(state: MessageState) -> bytes:
    """The state without its message id. Raises StoreFailed for a value that has no place."""
    history = state.history
    flags: i64 = int(state.settled_outcome)
    task = account = b""
    n = len(history)
    try:
        if state.task_id is not None:
            task = state.task_id.encode()
            flags |= _HAS_TASK
        if state.account_id is not None:
            account = state.account_id.encode()
            flags |= _HAS_ACCOUNT
        head: bytes = _STRUCTS[n].pack(
            n,
            flags,
            len(task),
            len(account),
            state.code,
            state.task_at,
            state.account_at,
            state.version,
            state.version_at,
            state.settled_version,
            state.settled_code,
            state.settled_at,
            state.due_at,
            state.doubt_at,
            *history,
            *history.values(),
        )
    except (error, IndexError, UnicodeEncodeError) as failure:
        raise StoreFailed(f"a state does not fit the local store: {failure}") from failure
    return head + task + account


def unpack(message_id: str, value: bytes) -> MessageState:
    """The state that `pack` was given. Raises StoreFailed when the bytes can't be one."""
    try:
        n = value[0] | value[1] << 8
        layout = _STRUCTS[n]
        fields = layout.unpack_from(value)
        (_, flags, task_len, account_len, code, task_at, account_at, version, version_at,
         settled_version, settled_code, settled_at, due_at, doubt_at,
         ) = fields[:_FIXED_FIELDS]  # fmt: skip
        times = _FIXED_FIELDS + n
        history = dict(zip(fields[_FIXED_FIELDS:times], fields[times:], strict=True))
        end = layout.size + task_len
        task = value[layout.size : end].decode() if flags & _HAS_TASK else None
        account = value[end:].decode() if flags & _HAS_ACCOUNT else None
        outcome = _OUTCOMES[flags & _OUTCOME_BITS]
    except (error, IndexError, UnicodeDecodeError) as failure:
        raise StoreFailed(f"a value of the local store is corrupt: {failure}") from failure
    if len(value) != end + account_len or code not in history:
        raise StoreFailed("a value of the local store is corrupt: its parts do not add up")
    return MessageState(
        message_id, history, code, task, task_at, account, account_at, version, version_at,
        settled_version, settled_code, settled_at, outcome, due_at, doubt_at,
    )  # fmt: skip


def unpack_all(rows: list[tuple[bytes, bytes]], names: dict[bytes, str]) -> dict[str, MessageState]:
    """The states of packed rows, by message id. `names`: the message id of each key."""
    states: dict[str, MessageState] = {}
    for key, value in rows:
        message_id = names[key]
        states[message_id] = unpack(message_id, value)
    return states

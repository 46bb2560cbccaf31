"""Two records of one message -> all that both know. What a restore does with each record it reads.

The owner of a message writes records of which each takes back nothing of the ones before it, so
the last is the state. But the status topic is a topic: whoever may write to it can put an old
record behind a newer one (a tool that copies, restores or redrives). That must not take a Task
back, so a record that lacks something is joined to what is known, and never replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from processor.core.collapse import is_later, merge, resolve
from processor.core.events import MessageState


def joined(
    records: Iterable[tuple[str, MessageState | None]], known: Mapping[str, MessageState]
) -> dict[str, MessageState | None]:
    """Records by message id, in the order of the log, on top of what is known. None: dropped."""
    states: dict[str, MessageState | None] = {}
    for message_id, read in records:
        before = states[message_id] if message_id in states else known.get(message_id)
        states[message_id] = read if read is None or before is None else join(before, read)
    return states


def join(known: MessageState, read: MessageState) -> MessageState:
    """What is known of a message after one more record of it was read."""
    if _takes_nothing_back(known, read):
        return read
    if _takes_nothing_back(read, known):
        return known
    newer = max(known, read, key=lambda state: (state.version, state.version_at))
    settled = max(known, read, key=lambda state: (state.settled_version, state.settled_at))
    history = merge(known.history, read.history)
    task_at, task_id = _later(known.task_at, known.task_id, read.task_at, read.task_id)
    account_at, account_id = _later(
        known.account_at, known.account_id, read.account_at, read.account_id
    )
    code = resolve(history)
    changed = any(
        (state.code, state.task_id) != (code, task_id)
        for state in (known, read)
        if state.version == newer.version
    )
    return replace(
        newer,
        history=history,
        code=code,
        task_id=task_id,
        task_at=task_at,
        account_id=account_id,
        account_at=account_at,
        version=newer.version + changed,  # that version meant something else
        settled_version=settled.settled_version,
        settled_code=settled.settled_code,
        settled_at=settled.settled_at,
        settled_outcome=settled.settled_outcome,
        due_at=max(known.due_at, read.due_at),
        doubt_at=max(known.doubt_at, read.doubt_at),
    )


def _takes_nothing_back(before: MessageState, after: MessageState) -> bool:
    """Whether `after` can be what its owner wrote after `before`."""
    if after.version == before.version:
        if after.code != before.code or after.task_id != before.task_id:
            return False
    elif after.version < before.version:
        return False
    task = after.task_at, after.task_id
    account = after.account_at, after.account_id
    return (
        after.settled_version >= before.settled_version
        and task == _later(before.task_at, before.task_id, *task)
        and account == _later(before.account_at, before.account_id, *account)
        and all(after.history.get(code, -1) >= at for code, at in before.history.items())
    )


def _later(
    one_at: int, one: str | None, other_at: int, other: str | None
) -> tuple[int, str | None]:
    """What a last-writer register comes to."""
    if one == other:
        return max(one_at, other_at), one
    return (other_at, other) if is_later(other_at, other, one_at, one) else (one_at, one)

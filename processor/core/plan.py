"""What one batch of one partition comes to: what to publish, what is owed, what is rejected.

`plan` is a function of its arguments. It is run again on the same records when a transaction
was aborted, and it makes no difference how a stream is cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.core.codes import CODES, Stage
from processor.core.collapse import all_at_once, hides_progress, in_conflict, is_later, resolve
from processor.core.due import Rules
from processor.core.events import IN_FLIGHT, DeliveryEvent, MessageState, Outcome, Settlement
from processor.errors import Rejection

MAX_AHEAD_MS: Final = 3_600_000
"""A record timestamp so far ahead of our clock bounds nothing. Kafka's brokers refuse it
themselves since version 4 (`message.timestamp.after.max.ms`); a lesser lead is a clock's."""

_NEVER_SETTLED: Final = (0, 0, 0, Outcome.NONE)


@dataclass(slots=True)
class Plan:
    """`changes` maps a message id to (state before, state after), in the order of first sight.
    `ahead`: events from after our own clock, which took their time's place.
    """

    changes: dict[str, tuple[MessageState | None, MessageState]] = field(default_factory=dict)
    tombstones: list[MessageState] = field(default_factory=list)
    rejected: list[tuple[int, Rejection]] = field(default_factory=list)
    too_late: list[tuple[int, Rejection]] = field(default_factory=list)
    refused: list[tuple[MessageState, Settlement]] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)
    hand_over: list[MessageState] = field(default_factory=list)
    settled: list[tuple[MessageState, Settlement]] = field(default_factory=list)
    considered: list[Settlement] = field(default_factory=list)
    superseding: list[str] = field(default_factory=list)
    stream_time: int = 0
    counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    conflicts: int = 0
    hidden: int = 0
    same_stamps: int = 0
    ahead: int = 0


@dataclass(slots=True)
class _Draft:
    """A message while the batch is applied to it. `merged`: codes that changed the history."""

    old: MessageState | None
    history: dict[int, int]
    task_id: str | None
    task_at: int
    account_id: str | None
    account_at: int
    merged: list[int]


def plan(
    events: Sequence[DeliveryEvent | Rejection],
    states: Mapping[str, MessageState],
    settlements: Iterable[Settlement] = (),
    *,
    rules: Rules,
    now: int,
    stream_time: int = 0,
    expired: Collection[MessageState] = (),
    room: int = 0,
) -> Plan:
    """The decision for one partition.

    In: the decoded records in offset order; the states of their messages and of the settlements'
    messages; results to settle; `now` (ms); the partition's stream time so far (ms); states
    whose retention may be over; how many rows the Salesforce writer can take at once.
    """
    result = Plan(stream_time=stream_time)
    drafts: dict[str, _Draft] = {}
    _merge_events(events, states, drafts, result, rules, now)
    for draft_id, draft in drafts.items():
        new = _finish(draft_id, draft, result, rules, now)
        if new is not None:
            result.changes[draft_id] = (draft.old, new)
    for settlement in settlements:
        result.considered.append(settlement)
        _settle(settlement, states, result, rules)
    _hand_over(result, now, room)
    result.tombstones = [
        state for state in expired if not state.owed and state.message_id not in drafts
    ]
    return result


def _is_unbounded(at: int, record_time: int, now: int) -> bool:
    """Whether an event lies in the future, and no record timestamp says since when it was there.

    Then it happened when we first saw it. The state has that time, which makes it durable: the
    same event again tells nothing.
    """
    return at > now and not 0 <= record_time <= now + MAX_AHEAD_MS


def _merge_events(  # noqa: C901, PLR0912 - the hottest loop: it can't afford more calls
    events: Sequence[DeliveryEvent | Rejection],
    states: Mapping[str, MessageState],
    drafts: dict[str, _Draft],
    result: Plan,
    rules: Rules,
    now: int,
) -> None:
    stream_time = result.stream_time
    require_task = rules.require_task
    dropped: list[tuple[int, str]] = []
    for index, event in enumerate(events):
        if isinstance(event, Rejection):
            result.rejected.append((index, event))
            continue
        message_id, code, at, record_time, task_id, account_id = event
        ahead = at > now and _is_unbounded(at, record_time, now)
        if ahead:
            at = now
            result.ahead += 1
        if record_time < 0:
            record_time = at
        if record_time > stream_time:
            # A record stamped in the future must not expire the present.
            stream_time = max(stream_time, min(record_time, now))
        if task_id is None and require_task:
            dropped.append((code, "ignored"))
            continue
        draft = drafts.get(message_id)
        if draft is None:
            draft = _open(event, at, states.get(message_id), stream_time - rules.retention_ms)
            if draft is None:
                late = Rejection("too_late", "older than the retention, and nothing is known of it")
                result.too_late.append((index, late))
                dropped.append((code, "too_late"))
                continue
            drafts[message_id] = draft
        history = draft.history
        seen = history.get(code)
        if ahead and seen is not None:
            dropped.append((code, "duplicate"))
            continue
        if seen is None or seen < at:
            history[code] = at
            draft.merged.append(code)
        else:
            dropped.append((code, "duplicate"))
        if task_id == draft.task_id:
            draft.task_at = max(at, draft.task_at)
        elif is_later(at, task_id, draft.task_at, draft.task_id):
            draft.task_at, draft.task_id = at, task_id
        if account_id == draft.account_id:
            draft.account_at = max(at, draft.account_at)
        elif is_later(at, account_id, draft.account_at, draft.account_id):
            draft.account_at, draft.account_id = at, account_id
    result.stream_time = stream_time
    result.counts.update(dropped)


def _open(event: DeliveryEvent, at: int, old: MessageState | None, horizon: int) -> _Draft | None:
    """A message at its first event of the batch; None where that event comes too late."""
    if old is not None:
        _, history, _, task_id, task_at, account_id, account_at, *_ = old
        return _Draft(old, history.copy(), task_id, task_at, account_id, account_at, [])
    _, _, _, _, task_id, account_id = event
    if at < horizon:
        return None
    return _Draft(None, {}, task_id, at, account_id, at, [])


def _finish(
    message_id: str, draft: _Draft, result: Plan, rules: Rules, now: int
) -> MessageState | None:
    """The new state of a message; None when the batch told nothing new."""
    old, history, task_id = draft.old, draft.history, draft.task_id
    if old is None:
        code = resolve(history)
        version, version_at, due_at, doubt_at = 1, now, now + rules.hold_ms(code), 0
        settled = _NEVER_SETTLED
    else:
        registers = (task_id, draft.task_at, draft.account_id, draft.account_at)
        if not draft.merged and registers == old.registers:
            return None
        code = resolve(history) if draft.merged else old.code
        version, version_at, due_at, doubt_at = (
            old.version,
            old.version_at,
            old.due_at,
            old.doubt_at,
        )
        settled = old.settled
        if code != old.code or task_id != old.task_id:
            version, version_at = version + 1, now
            if due_at == IN_FLIGHT:
                result.superseding.append(message_id)
            due_at = rules.due_at(code, now, old)
    _count(draft, code, result)
    if due_at <= now:
        result.ready.append(message_id)
    return MessageState(
        message_id,
        history,
        code,
        task_id,
        draft.task_at,
        draft.account_id,
        draft.account_at,
        version,
        version_at,
        *settled,
        due_at,
        doubt_at,
    )


def _count(draft: _Draft, code: int, result: Plan) -> None:
    """Outcomes of the merged events; oddities are counted when a message first shows them."""
    old, history = draft.old, draft.history
    before = old.history if old is not None else {}
    stage = CODES[code].stage
    conflict = stage > Stage.UNDELIVERED and len(history) > 1 and in_conflict(history)
    advanced = old is None or old.code != code
    for merged in draft.merged:
        if advanced and merged == code:
            result.counts[merged, "advanced"] += 1
            advanced = False
        elif conflict and CODES[merged].stage is Stage.UNDELIVERED:
            result.counts[merged, "conflict"] += 1
        else:
            # The current code again, only later, tells no more than a duplicate does.
            result.counts[merged, "duplicate" if merged == code else "superseded"] += 1
    if conflict:
        result.conflicts += not in_conflict(before)
    if stage >= Stage.UNDELIVERED and len(history) > 1:
        if hides_progress(history):
            result.hidden += not (before and hides_progress(before))
        became_final = old is None or not CODES[old.code].final
        result.same_stamps += became_final and all_at_once(history)


def _settle(
    settlement: Settlement, states: Mapping[str, MessageState], result: Plan, rules: Rules
) -> None:
    message_id = settlement.message_id
    before, state = result.changes.get(message_id, (None, None))
    if state is None:
        before = state = states.get(message_id)
    if state is None or settlement.version <= state.settled_version:
        return
    current = settlement.version == state.version  # else superseded: the newer version is owed
    new = state.settled_by(
        settlement,
        due_at=0 if current else state.version_at + rules.hold_ms(state.code),
        doubt_at=0 if current else state.doubt_at,
    )
    if not current:
        result.ready.append(message_id)
    result.changes[message_id] = (before, new)
    if settlement.outcome is Outcome.REJECTED:
        result.refused.append((new, settlement))
    result.settled.append((new, settlement))


def _hand_over(result: Plan, now: int, room: int) -> None:
    """Rows that are due at once go straight to the writer, as far as it has room."""
    if room <= 0:
        return
    for message_id in result.ready:
        old, new = result.changes[message_id]
        if new.version != new.settled_version and new.due_at <= now:
            handed = new.in_flight()
            result.changes[message_id] = (old, handed)
            result.hand_over.append(handed)
            if len(result.hand_over) == room:
                return

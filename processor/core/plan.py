"""What one batch of one partition comes to: what to publish, what is owed, what is rejected.

`plan` is a function of its arguments. It is run again on the same records when a transaction
was aborted, and it makes no difference how a stream is cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, final

from mypy_extensions import i64

from processor.core.codes import CODE_END, FINAL, STAGE, Stage
from processor.core.collapse import all_at_once, hides_progress, in_conflict, is_later, resolve
from processor.core.due import Rules
from processor.core.events import (
    IN_FLIGHT,
    Change,
    DeliveryEvent,
    MessageState,
    Outcome,
    Settlement,
)
from processor.errors import Rejection

MAX_AHEAD_MS: Final = 3_600_000
"""A record timestamp so far ahead of our clock bounds nothing. Kafka's brokers refuse it
themselves since version 4 (`message.timestamp.after.max.ms`); a lesser lead is a clock's."""

_NEVER: Final = -(1 << 62)  # before every event time
_UNDELIVERED: Final = int(Stage.UNDELIVERED)
_NOTHING: Final = MessageState("", {}, 0, None, 0, None, 0, 0, 0)  # before a message's first event


@dataclass
class Plan:
    """`changes` by message id, in the order of first sight.
    `ahead`: events from after our own clock, which took their time's place.
    """

    changes: dict[str, Change] = field(default_factory=dict)
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


@final
class _Draft:
    """A message while the batch is applied to it. `merged`: codes that changed the history."""

    def __init__(
        self,
        old: MessageState | None,
        history: dict[int, int],
        task_id: str | None,
        task_at: i64,
        account_id: str | None,
        account_at: i64,
    ) -> None:
        self.old: Final = old
        self.history: Final = history
        self.task_id = task_id
        self.task_at = task_at
        self.account_id = account_id
        self.account_at = account_at
        self.merged: list[int] = []


@final
class _Counts:
    """Events by outcome and code, counted in lists: an event adds one to a place in one of them."""

    def __init__(self) -> None:
        self.advanced = [0] * CODE_END
        self.duplicate = [0] * CODE_END
        self.superseded = [0] * CODE_END
        self.conflict = [0] * CODE_END
        self.ignored = [0] * CODE_END
        self.too_late = [0] * CODE_END

    def summed(self) -> Counter[tuple[int, str]]:
        """By (code, outcome), those that there were."""
        found: Counter[tuple[int, str]] = Counter()
        for outcome, counts in (
            ("advanced", self.advanced),
            ("duplicate", self.duplicate),
            ("superseded", self.superseded),
            ("conflict", self.conflict),
            ("ignored", self.ignored),
            ("too_late", self.too_late),
        ):
            for code, count in enumerate(counts):
                if count:
                    found[code, outcome] = count
        return found


def plan(
    events: list[DeliveryEvent | Rejection],
    states: dict[str, MessageState],
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
    counts = _Counts()
    drafts: dict[str, _Draft] = {}
    _merge_events(events, states, drafts, result, counts, rules, now)
    for draft_id, draft in drafts.items():
        new = _finish(draft_id, draft, result, counts, rules, now)
        if new is not None:
            result.changes[draft_id] = Change(draft.old, new)
    result.counts = counts.summed()
    for settlement in settlements:
        result.considered.append(settlement)
        _settle(settlement, states, result, rules)
    _hand_over(result, now, room)
    result.tombstones = [
        state for state in expired if not state.owed and state.message_id not in drafts
    ]
    return result


def _is_unbounded(at: i64, record_time: i64, now: i64) -> bool:
    """Whether an event lies in the future, and no record timestamp says since when it was there.

    Then it happened when we first saw it. The state has that time, which makes it durable: the
    same event again tells nothing.
    """
    return at > now and not 0 <= record_time <= now + MAX_AHEAD_MS


def _merge_events(
    events: list[DeliveryEvent | Rejection],
    states: dict[str, MessageState],
    drafts: dict[str, _Draft],
    result: Plan,
    counts: _Counts,
    rules: Rules,
    now: i64,
) -> None:
    stream_time: i64 = result.stream_time
    retention_ms = rules.retention_ms
    require_task = rules.require_task
    for index, event in enumerate(events):
        if not isinstance(event, DeliveryEvent):
            result.rejected.append((index, event))
            continue
        code = event.code
        at = event.event_time
        record_time = event.record_time
        ahead = at > now and _is_unbounded(at, record_time, now)
        if ahead:
            at = now
            result.ahead += 1
        if record_time < 0:
            record_time = at
        if record_time > stream_time:
            # A record stamped in the future must not expire the present.
            stream_time = max(stream_time, min(record_time, now))
        if event.task_id is None and require_task:
            counts.ignored[code] += 1
            continue
        draft = drafts.get(event.message_id)
        if draft is None:
            draft = _open(event, at, states.get(event.message_id), stream_time - retention_ms)
            if draft is None:
                late = Rejection("too_late", "older than the retention, and nothing is known of it")
                result.too_late.append((index, late))
                counts.too_late[code] += 1
                continue
            drafts[event.message_id] = draft
        seen = draft.history.get(code, _NEVER)
        if ahead and seen != _NEVER:
            counts.duplicate[code] += 1
            continue
        if seen < at:
            draft.history[code] = at
            draft.merged.append(code)
        else:
            counts.duplicate[code] += 1
        _note_ids(draft, at, event)
    result.stream_time = stream_time


def _note_ids(draft: _Draft, at: i64, event: DeliveryEvent) -> None:
    """The last-writer registers: the Task's id and the account's."""
    if event.task_id == draft.task_id:
        draft.task_at = max(at, draft.task_at)
    elif is_later(at, event.task_id, draft.task_at, draft.task_id):
        draft.task_at, draft.task_id = at, event.task_id
    if event.account_id == draft.account_id:
        draft.account_at = max(at, draft.account_at)
    elif is_later(at, event.account_id, draft.account_at, draft.account_id):
        draft.account_at, draft.account_id = at, event.account_id


def _open(event: DeliveryEvent, at: i64, old: MessageState | None, horizon: i64) -> _Draft | None:
    """A message at its first event of the batch; None where that event comes too late."""
    if old is not None:
        return _Draft(
            old, old.history.copy(), old.task_id, old.task_at, old.account_id, old.account_at
        )
    if at < horizon:
        return None
    return _Draft(None, {}, event.task_id, at, event.account_id, at)


def _finish(
    message_id: str, draft: _Draft, result: Plan, counts: _Counts, rules: Rules, now: i64
) -> MessageState | None:
    """The new state of a message; None when the batch told nothing new."""
    old = draft.old
    if old is not None and not draft.merged and not _tells_ids(draft, old):
        return None
    known = _NOTHING if old is None else old
    code: i64 = resolve(draft.history) if draft.merged else known.code
    version, version_at, due_at = known.version, known.version_at, known.due_at
    if code != known.code or draft.task_id != known.task_id:
        version, version_at = version + 1, now
        if due_at == IN_FLIGHT:
            result.superseding.append(message_id)
        due_at = rules.due_at(code, now, old)
    _count(draft, code, result, counts)
    if due_at <= now:
        result.ready.append(message_id)
    return MessageState(
        message_id,
        draft.history,
        code,
        draft.task_id,
        draft.task_at,
        draft.account_id,
        draft.account_at,
        version,
        version_at,
        known.settled_version,
        known.settled_code,
        known.settled_at,
        known.settled_outcome,
        due_at,
        known.doubt_at,
    )


def _tells_ids(draft: _Draft, old: MessageState) -> bool:
    """Whether a last-writer register has changed."""
    return (
        draft.task_at != old.task_at
        or draft.task_id != old.task_id
        or draft.account_at != old.account_at
        or draft.account_id != old.account_id
    )


def _count(draft: _Draft, code: i64, result: Plan, counts: _Counts) -> None:
    """Outcomes of the merged events; oddities are counted when a message first shows them."""
    old, history = draft.old, draft.history
    stage: i64 = STAGE[code]
    several = len(history) > 1
    conflict = stage > _UNDELIVERED and several and in_conflict(history)
    advanced = old is None or old.code != code
    for merged in draft.merged:
        if advanced and merged == code:
            counts.advanced[merged] += 1
            advanced = False
        elif conflict and STAGE[merged] == _UNDELIVERED:
            counts.conflict[merged] += 1
        elif merged == code:
            # The current code again, only later, tells no more than a duplicate does.
            counts.duplicate[merged] += 1
        else:
            counts.superseded[merged] += 1
    if conflict and (old is None or not in_conflict(old.history)):
        result.conflicts += 1
    if stage >= _UNDELIVERED and several:
        if hides_progress(history) and (old is None or not hides_progress(old.history)):
            result.hidden += 1
        if (old is None or not FINAL[old.code]) and all_at_once(history):
            result.same_stamps += 1


def _settle(
    settlement: Settlement, states: dict[str, MessageState], result: Plan, rules: Rules
) -> None:
    message_id = settlement.message_id
    change = result.changes.get(message_id)
    if change is None:
        before = state = states.get(message_id)
    else:
        before, state = change.old, change.new
    if state is None or settlement.version <= state.settled_version:
        return
    if settlement.version == state.version:
        new = state.settled_by(settlement, due_at=0, doubt_at=0)
    else:  # superseded: the newer version is owed
        due_at = state.version_at + rules.hold_ms(state.code)
        new = state.settled_by(settlement, due_at=due_at, doubt_at=state.doubt_at)
        result.ready.append(message_id)
    result.changes[message_id] = Change(before, new)
    if settlement.outcome is Outcome.REJECTED:
        result.refused.append((new, settlement))
    result.settled.append((new, settlement))


def _hand_over(result: Plan, now: i64, room: int) -> None:
    """Rows that are due at once go straight to the writer, as far as it has room."""
    if room <= 0:
        return
    for message_id in result.ready:
        change = result.changes[message_id]
        new = change.new
        if new is not None and new.owed and new.due_at <= now:
            handed = new.in_flight()
            result.changes[message_id] = Change(change.old, handed)
            result.hand_over.append(handed)
            if len(result.hand_over) == room:
                return

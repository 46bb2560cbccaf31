"""What the worker tells of itself, beside the metrics of its parts: what was committed, and why
nothing seems to go on. Counted after the commit: an aborted batch is counted once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, NamedTuple, TypeVar

from processor.core.events import Outcome
from processor.core.plan import Plan
from processor.ports import Meter, OwedCount, RawRecord, Source, Store, Writer
from processor.worker.partition import Assignment

log = logging.getLogger(__name__)

What = TypeVar("What")
Example = TypeVar("Example")

INTERVAL_MS: Final = 60_000
MOST_KINDS: Final = 100  # remembered at a time; those beyond are one kind

_REFUSED: Final = (
    "Salesforce refused rows for good, and their Tasks keep an older status: mend what the reason "
    "names; the rows are in the dead-letter topic"
)
JOINING_S: Final = 5.0  # a join that takes longer waits for somebody
JOINING_EVERY_S: Final = 15.0
DOUBT_EVERY_S: Final = 60.0


class LogLimiter(Generic[What, Example]):
    """What would be said over and over, said once in a while.

    Of each kind the first is due at once; then, at most once an interval, how many there were
    since. `beyond`: the kind that stands for all above `MOST_KINDS`.
    """

    def __init__(self, beyond: What) -> None:
        self._beyond = beyond
        self._waiting: dict[What, tuple[int, Example]] = {}
        self._told_at: dict[What, int] = {}

    def add(self, what: What, example: Example, count: int = 1) -> None:
        if what not in self._waiting and what not in self._told_at:
            kinds = self._waiting.keys() | self._told_at.keys()
            what = what if len(kinds) < MOST_KINDS else self._beyond
        before, first = self._waiting.get(what, (0, example))
        self._waiting[what] = before + count, first

    def due(self, now: int) -> Iterator[tuple[What, int, Example]]:
        """What to say at `now` (ms): each kind, how many since it was said last, the first of
        them. A clock that was set back delays nothing.
        """
        self._told_at = {
            what: at for what, at in self._told_at.items() if 0 <= now - at < INTERVAL_MS
        }
        for what in [what for what in self._waiting if what not in self._told_at]:
            count, example = self._waiting.pop(what)
            self._told_at[what] = now
            yield what, count, example


class _Place(NamedTuple):
    """Where an event lies. Of a refused row the offset is not known."""

    partition: int
    offset: int | None


class _Kind(NamedTuple):
    """Dead letters that are told together."""

    stage: str
    reason: str
    partition: int


_BEYOND: Final = _Kind("any", "other", -1)


class CommitCounter:
    """Tells what was committed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.events = self.dead_letters = 0
        self._dead_letters = LogLimiter[_Kind, _Place](_BEYOND)

    def count(
        self,
        batches: Mapping[int, Sequence[RawRecord]],
        plans: Mapping[int, Plan],
        now: int,
    ) -> None:
        """Tell the meter what was committed at `now` (ms)."""
        meter = self._meter
        size = sum(map(len, batches.values()))
        self.events += size
        meter.batch(size)
        for partition, decided in plans.items():
            meter.events(decided.counts)
            meter.statuses(len(decided.changes))
            meter.expired(len(decided.tombstones))
            meter.anomalies("conflict", decided.conflicts)
            meter.anomalies("hidden_progress", decided.hidden)
            meter.anomalies("same_stamp", decided.same_stamps)
            meter.anomalies("ahead_of_clock", decided.ahead)
            self._count_dead_letters(partition, batches.get(partition, ()), decided)
            for outcome in (Outcome.WRITTEN, Outcome.REJECTED):
                seconds = [
                    max(0, now - state.event_time) / 1000  # another clock may be ahead of ours
                    for state, settlement in decided.settled
                    if settlement.outcome is outcome
                ]
                if seconds:
                    meter.settled(outcome.name.lower(), seconds)
        self.log(now)

    def log(self, now: int) -> None:
        """A line for each partition and reason of dead letters that is due at `now` (ms)."""
        for (stage, reason, _), count, (partition, offset) in self._dead_letters.due(now):
            fields = {"stage": stage, "reason": reason, "partition": partition}
            if offset is None:
                # The Task goes on showing something else, until somebody does something.
                log.error(_REFUSED, extra=fields | {"rows": count})
            else:
                log.warning(
                    "events became dead letters", extra=fields | {"events": count, "offset": offset}
                )

    def _count_dead_letters(
        self, partition: int, batch: Sequence[RawRecord], decided: Plan
    ) -> None:
        self.dead_letters += len(decided.rejected) + len(decided.too_late) + len(decided.refused)
        for stage, rejected in (("decode", decided.rejected), ("collapse", decided.too_late)):
            for index, why in rejected:
                self._meter.rejected(stage, why.reason, 1)
                place = _Place(partition, batch[index].offset())
                self._dead_letters.add(_Kind(stage, why.reason, partition), place)
        for _, settlement in decided.refused:
            self._meter.rejected("salesforce", settlement.reason, 1)
            kind = _Kind("salesforce", settlement.reason, partition)
            self._dead_letters.add(kind, _Place(partition, None))


class StopReasons:
    """Why Salesforce takes no row at all, until an admin has changed something: a line a minute."""

    def __init__(self) -> None:
        self._reasons = LogLimiter[str, None]("for several more reasons")

    def add(self, what_to_change: str) -> None:
        """A row was refused for this."""
        self._reasons.add(what_to_change, None)

    def tell(self, now: int) -> None:
        """What is due at `now` (ms)."""
        for what, rows, _ in self._reasons.due(now):
            log.error(
                "Salesforce accepts no row until somebody acts on the cause",
                extra={"rows": rows, "why": what},
            )


class IdleReasons:
    """Why nothing seems to go on, told now and then: waiting in silence looks like a fault."""

    def __init__(self) -> None:
        self._outside_since_s: float | None = None
        self._tell_joining_at_s = self._tell_doubt_at_s = 0.0

    def joining(self, now_s: float, *, joined: bool) -> None:
        """Whether the group has taken us in."""
        if joined:
            self._outside_since_s = None
            return
        if self._outside_since_s is None:
            self._outside_since_s = now_s
            self._tell_joining_at_s = now_s + JOINING_S
        if now_s >= self._tell_joining_at_s:
            self._tell_joining_at_s = now_s + JOINING_EVERY_S
            log.info(
                "waiting to be taken into the consumer group: the group waits for all its members, "
                "and for one that died until PROCESSOR_KAFKA__SESSION_TIMEOUT_S is over",
                extra={"for_s": round(now_s - self._outside_since_s)},
            )

    def owing(self, now_s: float, owed: OwedCount, next_due_ms: int | None) -> None:
        """What is owed, and when the next of it is due."""
        if not owed.total or owed.in_doubt < owed.total or next_due_ms is None:
            return
        if now_s >= self._tell_doubt_at_s:
            self._tell_doubt_at_s = now_s + DOUBT_EVERY_S
            due = datetime.fromtimestamp(next_due_ms / 1000, UTC)
            log.info(
                "all rows owed wait to be read back, because Salesforce may have been sent an "
                "older value too (PROCESSOR_SALESFORCE__UNKNOWN_AFTER_S)",
                extra={"rows": owed.total, "next_at": f"{due:%Y-%m-%dT%H:%M:%SZ}"},
            )


class Gauges:
    """How things are, told once an interval."""

    def __init__(
        self, source: Source, store: Store, writer: Writer, meter: Meter, interval_s: float
    ) -> None:
        self._source, self._store, self._writer = source, store, writer
        self._meter, self._interval_s = meter, interval_s
        self._idle_reasons = IdleReasons()
        self._next_s = 0.0

    def due(self, now_s: float) -> bool:
        return now_s >= self._next_s

    def tell(self, assignment: Assignment, now: int, now_s: float, next_due_ms: int | None) -> None:
        """The time as `Clock` tells it; when the next owed row is due (None: none waits)."""
        self._next_s = now_s + self._interval_s
        meter, source = self._meter, self._source
        owed = self._store.owed_count()
        meter.gauges(owed, self._store.count(), source.lag())
        meter.blocked(sum(known.blocked is not None for known in assignment.restoring()))
        meter.slowed(sum(partition.throttle.is_open for partition in assignment.values()))
        meter.org_ready(self._writer.ready())
        silent_s = source.silent_s()
        if silent_s < float("inf"):
            meter.kafka_answered(now / 1000 - silent_s)
        self._idle_reasons.joining(now_s, joined=source.joined())
        self._idle_reasons.owing(now_s, owed, next_due_ms)

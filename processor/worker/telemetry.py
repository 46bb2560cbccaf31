"""What the worker tells of itself, beside the metrics of its parts: what was committed, and why
nothing seems to go on. Counted after the commit: an aborted batch is counted once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from processor.core.events import Outcome
from processor.core.plan import Plan
from processor.ports import Meter, OwedCount, RawRecord
from processor.worker.log_limit import Rarely

log = logging.getLogger(__name__)

JOINING_S: Final = 5.0  # a join that takes longer waits for somebody
JOINING_EVERY_S: Final = 15.0
DOUBT_EVERY_S: Final = 60.0
_BEYOND: Final = ("any", "other")


class _Place(NamedTuple):
    """Where an event lies. Of a refused row the offset is not known."""

    partition: int
    offset: int | None


class CommitCounter:
    """Tells what was committed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.events = self.dead_letters = 0
        self._dead_letters = Rarely[tuple[str, str], _Place](_BEYOND)

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
        """A line for each reason of dead letters that is due at `now` (ms)."""
        for (stage, reason), count, (partition, offset) in self._dead_letters.due(now):
            if stage == "salesforce":
                # The Task goes on showing something else, until somebody does something.
                log.error(
                    "Salesforce has refused rows for good: reason=%s rows=%d partition=%d "
                    "(see the dead-letter topic)",
                    reason, count, partition,
                )  # fmt: skip
            else:
                log.warning(
                    "events became dead letters: stage=%s reason=%s events=%d partition=%d "
                    "offset=%s",
                    stage, reason, count, partition, offset,
                )  # fmt: skip

    def _count_dead_letters(
        self, partition: int, batch: Sequence[RawRecord], decided: Plan
    ) -> None:
        self.dead_letters += len(decided.rejected) + len(decided.too_late) + len(decided.refused)
        for stage, rejected in (("decode", decided.rejected), ("collapse", decided.too_late)):
            for index, why in rejected:
                self._meter.rejected(stage, why.reason, 1)
                place = _Place(partition, batch[index].offset())
                self._dead_letters.add((stage, why.reason), place)
        for _, settlement in decided.refused:
            self._meter.rejected("salesforce", settlement.reason, 1)
            self._dead_letters.add(("salesforce", settlement.reason), _Place(partition, None))


class Waits:
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
                "waiting to be taken into the consumer group for_s=%.0f: it waits for all its "
                "members, and for one that died until KAFKA__SESSION_TIMEOUT_S is over",
                now_s - self._outside_since_s,
            )

    def owing(self, now_s: float, owed: OwedCount, next_due_ms: int | None) -> None:
        """What is owed, and when the next of it is due."""
        if not owed.total or owed.in_doubt < owed.total or next_due_ms is None:
            return
        if now_s >= self._tell_doubt_at_s:
            self._tell_doubt_at_s = now_s + DOUBT_EVERY_S
            due = datetime.fromtimestamp(next_due_ms / 1000, UTC)
            log.info(
                "all rows that are owed wait to be read back, because Salesforce may have been "
                "sent an older value too: rows=%d next=%s (SALESFORCE__UNKNOWN_AFTER_S)",
                owed.total, f"{due:%Y-%m-%dT%H:%M:%SZ}",
            )  # fmt: skip

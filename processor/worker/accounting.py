"""Committed plans -> the meter, and the log. Counted after the commit: an aborted batch is counted
once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from processor.core.events import Outcome
from processor.core.plan import Plan
from processor.ports import Meter, RawRecord
from processor.worker.log_limit import Rarely

log = logging.getLogger(__name__)

_BEYOND: Final = ("any", "other")


class _Place(NamedTuple):
    """Where an event lies. Of a refused row the offset is not known."""

    partition: int
    offset: int | None


class Tally:
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

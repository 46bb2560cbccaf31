"""Committed plans -> the meter. Counted after the commit: an aborted batch is counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from processor.core.events import Outcome
from processor.core.plan import Plan
from processor.ports import Meter, RawRecord


def count(
    meter: Meter,
    batches: Mapping[int, Sequence[RawRecord]],
    plans: Mapping[int, Plan],
    now: int,
) -> None:
    """Tell the meter what was committed at `now` (ms)."""
    meter.batch(sum(map(len, batches.values())))
    for decided in plans.values():
        meter.events(decided.counts)
        meter.statuses(len(decided.changes))
        meter.expired(len(decided.tombstones))
        meter.anomalies("conflict", decided.conflicts)
        meter.anomalies("hidden_progress", decided.hidden)
        meter.anomalies("same_stamp", decided.same_stamps)
        meter.anomalies("ahead_of_clock", decided.ahead)
        _count_rejected(meter, decided)
        for outcome in (Outcome.WRITTEN, Outcome.REJECTED):
            seconds = [
                max(0, now - state.event_time) / 1000  # another clock may be ahead of ours
                for state, settlement in decided.settled
                if settlement.outcome is outcome
            ]
            if seconds:
                meter.settled(outcome.name.lower(), seconds)


def _count_rejected(meter: Meter, decided: Plan) -> None:
    for stage, rejected in (("decode", decided.rejected), ("collapse", decided.too_late)):
        for _, why in rejected:
            meter.rejected(stage, why.reason, 1)
    for _, settlement in decided.refused:
        meter.rejected("salesforce", settlement.reason, 1)

"""Reads a partition slowly while most of its events can't be decoded.

An open breaker lets a few events through in each slot of time, so that a partition full of garbage
is neither emptied into the dead-letter topic nor a wall; the other partitions go on as ever.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from processor.core.breaker import Breaker, BreakerRules, Judged
from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from processor.ports import RawRecord

log = logging.getLogger(__name__)

_OPENED: Final = (
    "most recent events of the partition can't be decoded, and became dead letters: mend the "
    "producer or the schema. Nothing is lost: the partition is read on slowly until good events "
    "prevail; to let all through at once, start with PROCESSOR_BREAKER__ENABLED=false"
)


class _Slot(NamedTuple):
    """How many events may still be read until then."""

    left: int
    ends_s: float


class Throttle:
    """Of one partition. It moves on only when a batch was committed, so that one that is read
    again after an aborted transaction counts once. `rules` None: everything is let through.
    """

    def __init__(self, partition: int, rules: BreakerRules | None) -> None:
        self._partition = partition
        self._rules = rules
        self._breaker = None if rules is None else Breaker(rules)
        self._slot = _Slot(0, 0.0)
        self._next: tuple[Breaker, Sequence[Judged]] | None = None
        self._cut = False

    @property
    def is_open(self) -> bool:
        """Whether the partition is read slowly."""
        return self._breaker is not None and self._breaker.is_open

    def admit(self, batch: list[RawRecord], now_s: float) -> None:
        """Cut off the batch what may not be decoded yet."""
        self._next, self._cut = None, False
        if self.is_open:
            if now_s >= self._slot.ends_s:
                self._slot = self._new_slot(now_s)
            self._cut_off(batch, self._slot.left)

    def judge(self, batch: list[RawRecord], events: list[DeliveryEvent | Rejection]) -> None:
        """Cut the batch, and the events that it is, after the one at which the breaker opens."""
        if self._breaker is None or not events:
            return
        judged: list[Judged] = [
            (record.offset() or 0, event.reason) if isinstance(event, Rejection) else None
            for record, event in zip(batch, events, strict=True)
        ]
        later, taken = self._breaker.after(judged)
        self._next = later, judged[:taken]
        self._cut_off(batch, taken)
        del events[taken:]

    def committed(self, now_s: float) -> float | None:
        """What was judged last is done with. When the rest must be read again (as `now_s`); None:
        it need not.
        """
        judged, self._next = self._next, None
        if judged is not None:
            self._move_on(*judged, now_s)
        if self.is_open and not self._slot.left and (self._cut or judged is not None):
            return self._slot.ends_s
        return now_s if self._cut else None

    def _move_on(self, later: Breaker, judged: Sequence[Judged], now_s: float) -> None:
        before = self._breaker
        was_open = before is not None and before.is_open
        self._breaker = later
        if not later.is_open:
            if was_open:
                log.info(
                    "good events prevail: the partition is read at full speed again",
                    extra={"partition": self._partition},
                )
            return
        if not was_open:
            self._slot = self._new_slot(now_s)._replace(left=0)
            self._tell([*(before.recent if before else ()), *judged])
        self._slot = self._slot._replace(left=max(0, self._slot.left - len(judged)))

    def _cut_off(self, batch: list[RawRecord], taken: int) -> None:
        if len(batch) > taken:
            del batch[taken:]
            self._cut = True

    def _new_slot(self, now_s: float) -> _Slot:
        rules = self._rules or BreakerRules()
        return _Slot(rules.slot_events, now_s + rules.slot_s)

    def _tell(self, recent: Iterable[Judged]) -> None:
        bad = [judged for judged in recent if judged]
        reasons = Counter(reason for _, reason in bad)
        if self._rules is not None:
            log.error(
                _OPENED,
                extra={
                    "partition": self._partition,
                    "first_offset": bad[0][0],
                    "reasons": dict(reasons.most_common()),
                    "events_per_minute": self._rules.events_per_minute,
                },
            )

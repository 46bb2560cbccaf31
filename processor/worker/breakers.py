"""The breakers of all running partitions: what they let through, and what they say.

An open one lets a few events through in each slot of time, so that a partition full of garbage is
neither emptied into the dead-letter topic nor a wall; the other partitions go on as ever.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from processor.core.breaker import Breaker, BreakerRules, Judged
from processor.core.events import DeliveryEvent
from processor.errors import Rejected
from processor.ports import RawRecord

log = logging.getLogger(__name__)

_OPENED: Final = (
    "most of the recent events can't be decoded: partitions=%s first_offsets=%s reasons=%s. They "
    "are in the dead-letter topic. Nothing is lost: these partitions are read on at %d events a "
    "minute each, until good events prevail. Mend the producer or the schema; or, to let all "
    "through at once, start with PROCESSOR_BREAKER__ENABLED=false"
)


class _Slot(NamedTuple):
    """How many events of a partition may still be read until then."""

    left: int
    ends_s: float


class Breakers:
    """By partition. They move on only when a batch was committed, so that one that is read again
    after an aborted transaction counts once. `rules` None: everything is let through.
    """

    def __init__(self, rules: BreakerRules | None) -> None:
        self._rules = rules
        self._known: dict[int, Breaker] = {}
        self._slots: dict[int, _Slot] = {}
        self._next: dict[int, tuple[Breaker, Sequence[Judged]]] = {}
        self._cut: set[int] = set()

    def open(self) -> list[int]:
        """The partitions that are read slowly."""
        return [partition for partition, breaker in self._known.items() if breaker.is_open]

    def admit(self, batches: Mapping[int, list[RawRecord]], now_s: float) -> None:
        """Cut what may not be decoded yet off the batches of partitions that are read slowly."""
        self._next, self._cut = {}, set()
        for partition in batches.keys() & self.open():
            if now_s >= self._slots[partition].ends_s:
                self._slots[partition] = self._slot(now_s)
            self._cut_off(partition, batches[partition], self._slots[partition].left)

    def judge(
        self,
        batches: Mapping[int, list[RawRecord]],
        decoded: Mapping[int, list[DeliveryEvent | Rejected]],
    ) -> None:
        """Cut batches, and the events that they are, after the one at which a breaker opens."""
        if self._rules is None:
            return
        for partition, events in decoded.items():
            if not events:
                continue
            batch = batches[partition]
            judged: list[Judged] = [
                (record.offset() or 0, event.reason) if isinstance(event, Rejected) else None
                for record, event in zip(batch, events, strict=True)
            ]
            breaker = self._known.get(partition) or Breaker(self._rules)
            later, taken = breaker.after(judged)
            self._next[partition] = later, judged[:taken]
            self._cut_off(partition, batch, taken)
            del events[taken:]

    def _cut_off(self, partition: int, batch: list[RawRecord], taken: int) -> None:
        if len(batch) > taken:
            del batch[taken:]
            self._cut.add(partition)

    def committed(self, now_s: float) -> dict[int, float]:
        """What was judged last is done with. The partitions that must be read again from there,
        and when (as `now_s`).
        """
        again = dict.fromkeys(self._cut, now_s)
        opened: dict[int, list[tuple[int, str]]] = {}
        for partition, (later, judged) in self._next.items():
            before = self._known.get(partition)
            self._known[partition] = later
            was_open = before is not None and before.is_open
            if not later.is_open:
                if was_open:
                    log.info("good events prevail: at full speed again partition=%d", partition)
                continue
            if not was_open:
                recent = [*(before.recent if before else ()), *judged]
                opened[partition] = [bad for bad in recent if bad]
                self._slots[partition] = self._slot(now_s)._replace(left=0)
            slot = self._slots[partition]
            self._slots[partition] = slot._replace(left=max(0, slot.left - len(judged)))
        self._tell(opened)
        spent = {p: self._slots[p] for p in self.open() if not self._slots[p].left}
        again |= {p: slot.ends_s for p, slot in spent.items() if p in self._cut or p in self._next}
        self._next = {}
        return again

    def forget(self, partition: int) -> None:
        """No longer ours: its next owner judges anew."""
        for known in (self._known, self._slots, self._next):
            known.pop(partition, None)

    def _slot(self, now_s: float) -> _Slot:
        rules = self._rules or BreakerRules()
        return _Slot(rules.slot_events, now_s + rules.slot_s)

    def _tell(self, opened: Mapping[int, list[tuple[int, str]]]) -> None:
        if opened and self._rules is not None:
            reasons = Counter(reason for bad in opened.values() for _, reason in bad)
            offsets = [bad[0][0] for bad in opened.values()]
            pace = self._rules.events_per_minute
            log.error(_OPENED, list(opened), offsets, dict(reasons.most_common()), pace)

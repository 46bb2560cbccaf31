"""Slows down the reading of a partition whose events would all become dead letters."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Judged = tuple[int, str] | None
"""Of one event: None if it can be used; else its offset, and why it can't be."""


class BreakerRules(NamedTuple):
    """When a breaker opens and closes, and how many events pass while it is open."""

    events_per_minute: int = 100
    window_events: int = 1_000
    min_rejected: int = 100
    max_share: float = 0.5
    probe_events: int = 50

    @property
    def slot_s(self) -> float:
        """They pass in slots: beginning to read again for each single one would cost too much."""
        return max(6.0, 60 / self.events_per_minute)

    @property
    def slot_events(self) -> int:
        return max(1, int(self.events_per_minute * self.slot_s / 60))


class Breaker:
    """Of one partition. Opens when, of its last 1,000 events, more than half and at least 100 were
    rejected. Closes when, of the last 50 since it opened, less than half were.

    A bad deployment (of a producer's schema, or of this program) rejects everything; a poison
    pill rejects one event. A value: a batch that is read again after an aborted transaction is
    taken in once.
    """

    def __init__(
        self, rules: BreakerRules, recent: Iterable[Judged] = (), *, is_open: bool = False
    ) -> None:
        self._rules = rules
        self.is_open = is_open
        self.recent = deque(recent, rules.probe_events if is_open else rules.window_events)

    def after(self, batch: Sequence[Judged]) -> tuple[Breaker, int]:
        """The breaker after the events of a batch, in order, and how many of them it has taken:
        those up to the one at which it opened, or all.
        """
        later = Breaker(self._rules, self.recent, is_open=self.is_open)
        bad = sum(map(bool, later.recent))
        if not self.is_open and bad + sum(map(bool, batch)) < self._rules.min_rejected:
            # It can't open, wherever in the batch they are: no need to look at each.
            later.recent.extend(batch[-self._rules.window_events :])
            return later, len(batch)
        for place, judged in enumerate(batch):
            if len(later.recent) == later.recent.maxlen:
                bad -= bool(later.recent[0])
            later.recent.append(judged)
            bad += bool(judged)
            if later._turns(bad):
                later, bad = Breaker(self._rules, is_open=not later.is_open), 0
                if later.is_open:
                    return later, place + 1
        return later, len(batch)

    def _turns(self, bad: int) -> bool:
        """Whether it opens, or closes, now that so many of the recent events were rejected."""
        limit = self._rules.max_share * len(self.recent)
        if self.is_open:
            return len(self.recent) == self.recent.maxlen and bad < limit
        return bad >= self._rules.min_rejected and bad > limit

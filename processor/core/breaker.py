"""Stops a process that would empty its topic into the dead-letter topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

WINDOW_EVENTS: Final = 1_000
MIN_REJECTED: Final = 100
MAX_SHARE: Final = 0.5


class Breaker:
    """Opens when, of the last 1,000 events, more than half and at least 100 were rejected.

    A bad deployment (of a producer's schema, or of this program) rejects everything; a poison
    pill rejects one event. A value: a batch that is read again after an aborted transaction is
    taken in once.
    """

    def __init__(self, recent: Iterable[bool] = (), *, is_open: bool = False) -> None:
        self._recent = deque(recent, maxlen=WINDOW_EVENTS)
        self.is_open = is_open

    def after(self, rejected: Sequence[bool]) -> Breaker:
        """The breaker after a batch, in order. Once open it stays open."""
        later = Breaker(self._recent, is_open=self.is_open)
        if any(rejected) or any(self._recent):
            later._take(rejected)
        else:
            later._recent.extend(rejected[-WINDOW_EVENTS:])
        return later

    def _take(self, rejected: Sequence[bool]) -> None:
        recent = self._recent
        bad = sum(recent)
        for flag in rejected:
            if len(recent) == WINDOW_EVENTS:
                bad -= recent[0]
            recent.append(flag)
            bad += flag
            self.is_open |= bad >= MIN_REJECTED and bad > MAX_SHARE * len(recent)

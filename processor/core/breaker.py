"""Stops a process that would empty its topic into the dead-letter topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

WINDOW_EVENTS: Final = 1_000
MIN_REJECTED: Final = 100
MAX_SHARE: Final = 0.5


class Breaker:
    """Opens when, of the last 1,000 events, more than half and at least 100 were rejected.

    A bad deployment (of a producer's schema, or of this program) rejects everything; a poison
    pill rejects one event.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW_EVENTS)
        self._rejected = 0

    def opens(self, rejected: Sequence[bool]) -> bool:
        """Take in a batch, in order: whether the breaker was open after any of its events."""
        if not any(rejected) and not self._rejected:
            self._recent.extend(rejected[-WINDOW_EVENTS:])
            return False
        opened = False
        for flag in rejected:
            opened |= self._one(flag)
        return opened

    def _one(self, rejected: bool) -> bool:
        if len(self._recent) == WINDOW_EVENTS:
            self._rejected -= self._recent[0]
        self._recent.append(rejected)
        self._rejected += rejected
        return self._rejected >= MIN_REJECTED and self._rejected > MAX_SHARE * len(self._recent)

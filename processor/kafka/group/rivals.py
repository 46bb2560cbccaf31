"""Fenced again and again: most likely another process has the same transactional id.

Each of the two that opens a producer fences the other one. Without waiting they would do so once
a second for ever, and nothing of what they own would go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import Final

_log = logging.getLogger(__name__)

QUICK_S: Final = 300.0  # a producer that lived longer was not fenced by a rival at its heels
FEW: Final = 3  # so many quick ones in a row are no coincidence
FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 60.0
_HINT: Final = (
    "another process uses the same PROCESSOR_KAFKA__TRANSACTIONAL_ID, so that each ends the "
    "other's transactions: give each process its own, or leave it out. Nothing is lost"
)


class Rivals:
    """How long to wait before the next producer. `configured`: the transactional id, where an
    operator has given it; None: it was drawn, and nobody else can have it.
    """

    def __init__(
        self, configured: str | None, monotonic_s: Callable[[], float], rng: Random
    ) -> None:
        self._configured = configured
        self._monotonic_s = monotonic_s
        self._rng = rng
        self._times = 0
        self._opened_at = self._not_before = float("-inf")

    def opened(self) -> None:
        """A producer is there."""
        self._opened_at = self._monotonic_s()

    def fenced(self) -> None:
        """It was fenced by another one."""
        now_s = self._monotonic_s()
        self._times = self._times + 1 if now_s - self._opened_at < QUICK_S else 1
        if self._times == 1:
            return
        doubled = min(self._times - 2, 10)
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**doubled)
        wait_s *= self._rng.uniform(0.5, 1.5)
        self._not_before = now_s + wait_s
        if self._times >= FEW and self._configured is not None:
            _log.error(
                _HINT,
                extra={
                    "transactional_id": self._configured,
                    "times": self._times,
                    "retry_after_s": round(wait_s, 1),
                },
            )

    def wait_s(self) -> float:
        """Seconds before the next producer may be opened; 0: now."""
        return max(0.0, self._not_before - self._monotonic_s())

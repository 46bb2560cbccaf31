"""Time that moves when it is told to."""

from __future__ import annotations


class HandTurnedClock:
    """Implements `ports.Clock`."""

    def __init__(self, seconds: float = 1_000.0) -> None:
        self.seconds = seconds

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds

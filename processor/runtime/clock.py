"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `ports.Clock`.

    `now_ms` is the wall clock as it stood when this was made, and runs on steadily from there:
    a step of the wall clock must neither hold rows back nor end a doubt too early.
    """

    def __init__(self) -> None:
        self._since_1970_ms = time.time_ns() // 1_000_000 - round(self.monotonic_s() * 1000)

    def now_ms(self) -> int:
        return self._since_1970_ms + round(self.monotonic_s() * 1000)

    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux: it also runs while the machine is suspended

        def monotonic_s(self) -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    else:

        def monotonic_s(self) -> float:
            return time.monotonic()

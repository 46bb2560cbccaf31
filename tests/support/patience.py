"""How long to wait: as long as an idle machine needs, times how slow and how busy this one is.

Every limit in the tests is for what hangs, and is given in seconds of the machine that they were
written on, idle. TEST_PATIENCE=n multiplies them by at least n.
"""

from __future__ import annotations

import os
import time
from functools import cache

MOST = 20.0  # a hang has to end, too
_ROUNDS = 200_000
_REFERENCE_S = 0.04  # that many rounds, on one of two slow cores of a virtual machine


class Patience:
    """So many seconds, which get longer while the machine gets busier."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began_s = time.monotonic()

    def is_over(self) -> bool:
        return time.monotonic() - self._began_s > patient(self._seconds)

    def __str__(self) -> str:
        return f"{patient(self._seconds):.3g} s"


def patient(seconds: float) -> float:
    """As many seconds of this machine, as it is now, as those are of an idle one."""
    return seconds * factor()


def factor() -> float:
    """How much longer than on an idle machine anything may take here and now; 1 or more."""
    slowness, share = _measured()
    at_least = float(os.environ.get("TEST_PATIENCE", "1"))
    return max(at_least, scale(slowness, share, os.getloadavg()[0] / (os.cpu_count() or 1)))


def scale(slowness: float, share: float, load: float) -> float:
    """From the CPU time of a piece of work, as a multiple of what it should be; the share of a
    CPU that it got; and how many want each CPU.
    """
    return min(MOST, max(1.0, slowness) * max(1.0, 1 / share, load))


@cache
def _measured() -> tuple[float, float]:
    """Slowness and share, once a process. The load alone does not tell of a quota of CPU time."""
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    value = 0
    for number in range(_ROUNDS):
        value = (value * 31 + number) & 0xFFFF
    cpu_s = time.thread_time() - began_cpu_s
    return cpu_s / _REFERENCE_S, cpu_s / (time.perf_counter() - began_s)

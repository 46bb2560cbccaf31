"""Simulated time, chance, and the trace. Nothing sleeps; whatever happens is an action on a heap.

A process that waits or is stopped in the middle of an effect needs no thread: the call it is in
lets the world run on, other processes' turns included, and then returns.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

from tests.simulation.weather import Weather, weather_of

START_MS: Final = 1_700_000_000_000
TRACE_STEPS: Final = 60
MAX_NESTING: Final = 4

Changes = Mapping[str, Any]
"""Fields of the weather that a test sets for itself."""


class Violation(Exception):
    """An invariant (docs/design.md) does not hold."""

    def __init__(self, invariant: str, story: str) -> None:
        super().__init__(f"{invariant}: {story}")
        self.invariant = invariant
        self.story = story


class Crash(Exception):
    """The process that is running ends here, as by kill -9."""


class World:
    """One run. `calm`: faults have stopped, and what remains is to finish."""

    def __init__(self, seed: int, changes: Changes, trace_steps: int | None) -> None:
        self.rng = Random(seed)
        self.weather: Weather = replace(weather_of(self.rng), **changes)
        self.now = 0.0
        self.calm = False
        self.nesting = 0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._trace: deque[tuple[float, str, str, tuple[object, ...]]] = deque(maxlen=trace_steps)

    def wall_ms(self) -> int:
        """The true time, which no process knows exactly."""
        return START_MS + round(self.now * 1000)

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def run_until(self, when: float, done: Callable[[], bool] | None = None) -> None:
        """Let everything happen that is due by then, or until it is done."""
        heap = self._heap
        while not (done is not None and done()):
            if not heap or heap[0][0] > when:
                self.now = max(self.now, when)
                return
            at, _, action = heapq.heappop(heap)
            self.now = max(self.now, at)
            self.steps += 1
            action()

    def run_inside(self, when: float, done: Callable[[], bool] | None = None) -> None:
        """The same from within a call of a process."""
        self.nesting += 1
        try:
            self.run_until(when, done)
        finally:
            self.nesting -= 1

    def chance(self, probability: float) -> bool:
        """Never, once it is calm."""
        return not self.calm and probability > 0 and self.rng.random() < probability

    def note(self, who: str, what: str, *details: object) -> None:
        self._trace.append((self.now, who, what, details))

    def trace(self) -> str:
        """The last steps, one a line."""
        return "\n".join(
            f"{at:9.3f} {who:<6} {what} {' '.join(map(_text, details))}"
            for at, who, what, details in self._trace
        )


def _text(detail: object) -> str:
    return f"{detail:.3f}" if isinstance(detail, float) else str(detail)

"""Requests that the server applies later than they came: one queue, in the order of their time."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable


class LateQueue:
    """Runs actions when they are due, one at a time, in the order of (due time, submission)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None], threading.Event]] = []
        self._submitted = 0
        self._running = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that runs what is due."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name="sandbox-org-late", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what is not due yet is never applied, as when a server dies."""
        with self._changed:
            self._running = False
            for entry in self._heap:
                entry[3].set()
            self._heap.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def submit(self, delay_s: float, action: Callable[[], None]) -> threading.Event:
        """Run `action` in `delay_s`; the event is set when it has run, or never will."""
        ran = threading.Event()
        with self._changed:
            if not self._running:
                ran.set()
                return ran
            self._submitted += 1
            entry = (time.monotonic() + delay_s, self._submitted, action, ran)
            heapq.heappush(self._heap, entry)
            self._changed.notify_all()
        return ran

    def pending(self) -> int:
        """Return how many requests wait to be applied."""
        with self._changed:
            return len(self._heap)

    def release(self) -> int:
        """Apply everything that waits, now and in order; return how many that were.

        For tests that want a request to land between two others without a real wait.
        """
        with self._changed:
            due = [heapq.heappop(self._heap) for _ in range(len(self._heap))]
        for _, _, action, ran in due:
            action()
            ran.set()
        return len(due)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._running:
                    return
                wait_s = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                _, _, action, ran = heapq.heappop(self._heap)
            action()
            ran.set()

"""Ctrl-C in the demo: met where nothing is half done, and answered even if a client hangs.

Python raises KeyboardInterrupt between any two instructions of the main thread, also just after a
lock was taken and before anything would release it; the other threads then wait for ever.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from processor.commands.exit_codes import EXIT_INTERRUPTED

END_S: Final = 15.0  # what closing the broker, the org and the processor may take

INTERRUPTED: Final = "Interrupted: nothing was judged."


def _end_at_once() -> None:
    print(f"\n{INTERRUPTED}", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def interruptible(end_at_once: Callable[[], None] = _end_at_once) -> Iterator[Callable[[], None]]:
    """Inside, a SIGINT is only noted; the function given raises KeyboardInterrupt for it. When the
    end then takes longer than END_S, or SIGINT comes again, the process ends at once.

    For the main thread; in another one, which no signal reaches, the function never raises.
    """
    noted = threading.Event()
    timer = threading.Timer(END_S, end_at_once)
    timer.daemon = True

    def note(_number: int, _frame: object) -> None:
        if noted.is_set():
            end_at_once()
            return
        noted.set()
        timer.start()

    def meet() -> None:
        if noted.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield meet
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield meet
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)

"""`processor run`: until SIGTERM or SIGINT, or with --once until all is read and written."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Final

from processor.commands.loading import load
from processor.logs import set_up_logging
from processor.machine import prepare

if TYPE_CHECKING:
    from processor.commands.compose import Application

log = logging.getLogger(__name__)

# Millions of small tuples live for one batch; looking for cycles among them costs a tenth.
_GC_THRESHOLDS: Final = (1_000_000, 20, 50)


def run(config: str | None, *, once: bool, timeout_s: float | None) -> int:
    """0; with `once` 1 when something was still owed after `timeout_s`."""
    settings = load(config, needs=("kafka", "salesforce"))
    set_up_logging(settings.log.level, settings.log.format)
    stop = _stop_on_signals(settings.worker.shutdown_deadline_s)
    prepare()
    from processor.commands.compose import compose  # takes a while: signals are heard already

    application = compose(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    log.info("serving /metrics, /healthz and /readyz on port=%d", application.http.port)
    try:
        if once:
            return _run_once(application, stop, timeout_s)
        application.run(stop.is_set)
    finally:
        application.close()
    log.info("stopped")
    return 0


def _run_once(application: Application, stop: threading.Event, timeout_s: float | None) -> int:
    deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    drained = False

    def stopping() -> bool:
        nonlocal drained
        drained = application.worker.drained()
        return drained or stop.is_set() or time.monotonic() > deadline_s

    application.run(stopping)
    if not drained:
        log.warning("stopped before everything was read and written")
    return 0 if drained else 1


def _stop_on_signals(deadline_s: float) -> threading.Event:
    """Set by SIGTERM and SIGINT. What is not handed over by the deadline stays owed."""
    stop = threading.Event()

    def give_up() -> None:
        log.error("the stop took longer than seconds=%g: ended at once", deadline_s)
        logging.shutdown()
        os._exit(1)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("stopping signal=%s", signal.Signals(number).name)
        if not stop.is_set():
            timer = threading.Timer(deadline_s, give_up)
            timer.daemon = True
            timer.start()
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop

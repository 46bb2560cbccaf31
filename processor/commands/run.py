"""`processor run`: until SIGTERM or SIGINT, or with --once until all is read and written."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from processor.commands.exit_codes import EXIT_INTERRUPTED, EXIT_WRONG
from processor.commands.loading import load
from processor.runtime.logs import set_up_logging
from processor.runtime.machine import prepare

if TYPE_CHECKING:
    from processor.commands.compose import Application

log = logging.getLogger(__name__)

GROUP_GRACE_S: Final = 10.0  # beyond the session, for the rebalance that follows
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

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
    _hurry_on(stop, application.worker.hurry)
    log.info("serving /metrics, /healthz and /readyz on port=%d", application.http.port)
    try:
        if once:
            return _run_once(application, stop, timeout_s, settings.kafka.group_id)
        application.run(stop.is_set)
    finally:
        application.close()
    log.info("stopped")
    return 0


class _Once:
    """When to stop: all is read and written, or others have the rest, or it takes too long."""

    def __init__(
        self, application: Application, stop: threading.Event, timeout_s: float, group_s: float
    ) -> None:
        self._worker, self._all = application.worker, application.partitions
        self._stop, self._group_s = stop, group_s
        self._deadline_s = time.monotonic() + timeout_s
        self._drained_since_s: float | None = None
        self.drained = False
        self.with_others = 0

    def over(self) -> bool:
        now_s = time.monotonic()
        self.drained = self._worker.drained()
        self.with_others = self._all - self._worker.partitions()
        if self._stop.is_set() or now_s > self._deadline_s:
            return True
        if not self.drained:
            self._drained_since_s = None
            return False
        if self.with_others == 0:
            return True
        if self._drained_since_s is None:
            self._drained_since_s = now_s
            log.info(
                "partitions=%d of %d are with other members of the group, or with one that died: "
                "waiting for them for_s=%.0f",
                self.with_others, self._all, self._group_s,
            )  # fmt: skip
        return now_s - self._drained_since_s > self._group_s


def _run_once(
    application: Application,
    stop: threading.Event,
    timeout_s: float | None,
    group_id: str,
) -> int:
    timeout_s = float("inf") if timeout_s is None else timeout_s
    once = _Once(application, stop, timeout_s, application.session_s + GROUP_GRACE_S)
    application.run(once.over)
    done = application.worker.account()
    print(
        f"read {done.events} events, made {done.dead_letters} dead letters, "
        f"left {done.rows_owed} rows owed to Salesforce"
    )
    if not once.drained:
        log.warning("stopped before everything was read and written")
    elif once.with_others:
        log.warning(
            "not all was ours: partitions=%d of %d belong to other members of group=%s, and what "
            "they owe is not known here. Stop the other processes, or leave it to them",
            once.with_others, application.partitions, group_id,
        )  # fmt: skip
    return 0 if once.drained and not once.with_others else 1


def _hurry_on(stop: threading.Event, hurry: Callable[[], None]) -> None:
    """The loop may be in a call to a Kafka that does not answer, and would not see it for long."""

    def wait() -> None:
        stop.wait()
        hurry()

    threading.Thread(target=wait, name="hurry", daemon=True).start()


def _stop_on_signals(deadline_s: float) -> threading.Event:
    """Set by SIGTERM and SIGINT. What is not handed over by the deadline stays owed; a SIGINT
    after the first signal ends the process at once.

    A thread hears them: the main one may be inside a library that does not come back for seconds.
    """
    stop = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while numbers := os.read(reader, 1):
            number = signal.Signals(numbers[0])
            if number not in _SIGNALS:
                continue
            if stop.is_set() and number is signal.SIGINT:
                log.error(
                    "ended at once by a second signal: nothing is lost, and what was not settled "
                    "is written once more by whoever goes on"
                )
                _end(EXIT_INTERRUPTED)
            log.info("stopping signal=%s", number.name)
            if not stop.is_set():
                timer = threading.Timer(deadline_s, give_up)
                timer.daemon = True
                timer.start()
            stop.set()

    def give_up() -> None:
        log.error("the stop took longer than seconds=%g: ended at once", deadline_s)
        _end(EXIT_WRONG)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: None)  # else it would end us by itself
    signal.set_wakeup_fd(writer)
    return stop


def _end(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)

"""`processor run`: until SIGTERM or SIGINT, or with --once until all is read and written."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NoReturn

from processor import FORM
from processor.commands.exit_codes import EXIT_INTERRUPTED, EXIT_WRONG, EXPECTED, exit_code
from processor.commands.loading import load
from processor.runtime.logs import log_uncaught, set_up_logging
from processor.runtime.machine import prepare

if TYPE_CHECKING:
    from processor.commands.compose import Application
    from processor.config.settings import Settings

log = logging.getLogger(__name__)

GROUP_GRACE_S: Final = 10.0  # beyond the session, for the rebalance that follows
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Millions of small tuples live for one batch; looking for cycles among them costs a tenth.
_GC_THRESHOLDS: Final = (1_000_000, 20, 50)


def run(config: str | None, *, once: bool, timeout_s: float | None) -> int:
    """0; with `once` 1 when something was still owed after `timeout_s`."""
    settings = load(config, needs=("kafka", "salesforce"))
    set_up_logging(settings.log.level, settings.log.format)
    log_uncaught()
    try:
        with _stop_on_signals(settings.worker.shutdown_deadline_s) as stop:
            return _run(settings, stop, once=once, timeout_s=timeout_s)
    except EXPECTED as error:
        if settings.log.format != "json":
            raise  # it is told as with any other command
        log.error("ended by an error: see why, and start again", extra={"why": error})
        return exit_code(error)


def _run(settings: Settings, stop: threading.Event, *, once: bool, timeout_s: float | None) -> int:
    prepare()
    from processor.commands.compose import compose  # takes a while: signals are heard already

    application = compose(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    _hurry_on(stop, application.worker.hurry)
    _tell_start(settings, application)
    try:
        if once:
            code = _run_once(application, stop, timeout_s, settings.kafka.group_id)
        else:
            application.run(stop.is_set)
            code = 0
        _tell_stop(application)
    finally:
        application.close()
    return code


def _tell_start(settings: Settings, application: Application) -> None:
    kafka = settings.kafka
    log.info(
        "started: serving /metrics, /healthz and /readyz",
        extra={
            "port": application.http.port,
            "version": version("sms-status-processor"),
            "form": FORM,
            "group": kafka.group_id,
            "group_protocol": kafka.group_protocol,
            "events_topic": kafka.events_topic,
            "status_topic": kafka.status_topic,
            "dead_letter_topic": kafka.dead_letter_topic,
            "partition_count": application.partitions,
            "org": application.org,
        },
    )


def _tell_stop(application: Application) -> None:
    done = application.worker.account()
    log.info(
        "stopped",
        extra={
            "events": done.events,
            "dead_letters": done.dead_letters,
            "rows_owed": done.rows_owed,
        },
    )


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
                "waiting for partitions that other members of the group own, or one that died",
                extra={
                    "with_others": self.with_others,
                    "partition_count": self._all,
                    "for_s": round(self._group_s),
                },
            )
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
            "some partitions belong to other members of the group, and what they owe is not known "
            "here: stop the other processes, or leave it to them",
            extra={
                "group": group_id,
                "with_others": once.with_others,
                "partition_count": application.partitions,
            },
        )
    return 0 if once.drained and not once.with_others else 1


def _hurry_on(stop: threading.Event, hurry: Callable[[], None]) -> None:
    """The loop may be in a call to a Kafka that does not answer, and would not see it for long."""

    def wait() -> None:
        stop.wait()
        hurry()

    threading.Thread(target=wait, name="hurry", daemon=True).start()


@contextmanager
def _stop_on_signals(deadline_s: float) -> Iterator[threading.Event]:
    """Set by SIGTERM and SIGINT. What is not handed over by the deadline stays owed; a SIGINT
    after the first signal ends the process at once. Afterwards SIGTERM is ignored: the process is
    about to end by itself, and its exit code is to say how it went.

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
                log.warning(
                    "ended at once by a second signal: nothing is lost, and what was not settled "
                    "is written once more by whoever goes on",
                    extra={"signal": number.name},
                )
                _end(EXIT_INTERRUPTED)
            log.info("stopping", extra={"signal": number.name})
            if not stop.is_set():
                timer = threading.Timer(deadline_s, give_up)
                timer.daemon = True
                timer.start()
            stop.set()
        os.close(reader)

    def give_up() -> None:
        log.error(
            "ended at once, because the stop took too long: nothing is lost. Where this comes "
            "again, raise PROCESSOR_WORKER__SHUTDOWN_DEADLINE_S, and the time that the process "
            "has before it is killed",
            extra={"deadline_s": deadline_s},
        )
        _end(EXIT_WRONG)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    # Without a handler of its own, a signal would end us by itself.
    before = signal.getsignal(signal.SIGINT)
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    wakeup = signal.set_wakeup_fd(writer)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        os.close(writer)  # which ends the thread


def _end(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)

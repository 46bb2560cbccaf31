"""The Salesforce writer of one org: a window of rows, a few requests in flight, pauses.

    submit -> RowQueue (one line per Task) -> Gate -> Sender (requests and verdicts) -> results

The threads share one lock and one condition; no request, login or lease is asked under it.
What is guaranteed: every submitted row gives one result, save those that were dropped; of one
Task at most one request is in flight, and its rows go in the order in which they were submitted;
while the org is paused nothing is held here, so that newer versions can take the place of older.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from random import Random, SystemRandom
from typing import Final

from processor.core.settle import Reject, Retry, Stop, Verdict
from processor.errors import ConfigError
from processor.ports import Clock, Lease, Owed, Result
from processor.salesforce.budget import Gate, RequestSize
from processor.salesforce.client import Client
from processor.salesforce.collections import (
    MAX_IDS_PER_RETRIEVE,
    MAX_PARTS_PER_COMPOSITE,
    MAX_ROWS_PER_REQUEST,
    task_id_18,
)
from processor.salesforce.meter import NoMeter, RequestMeter
from processor.salesforce.rows import Batch, Kind, RowQueue, count_by_name
from processor.salesforce.sender import Done, Sender
from processor.salesforce.verdicts import MALFORMED_ID, OrgUnavailable, Pause

log = logging.getLogger(__name__)

ORG_PAUSED: Final = "ORG_PAUSED"
QUIESCED: Final = "QUIESCED"
RESUME_SPREAD_S: Final = 1.0  # rows come back over so long after a pause, not all in one moment
MAX_ROWS_AGAIN: Final = 20  # of rows that have failed before, so that none takes many with it;
MAX_REQUESTS_AGAIN: Final = 10  # but where many have, no more requests than that
IDLE_WAIT_MAX_S: Final = 1.0  # a thread looks around so often, whatever it waits for


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How much at once.

    `window_rows` are held at most (see `window_of`). `linger_s` is how long a row waits for others
    to share its request. `requests_in_flight`: few, because requests of ours lock each other's
    parents.
    """

    window_rows: int
    linger_s: float
    requests_in_flight: int


def window_of(requests_in_flight: int) -> int:
    """Rows to hold: what fills so many requests, and the same once more. Fewer, and requests go
    half empty; more, and rows grow old here that newer versions could replace in the store.
    """
    return 2 * requests_in_flight * MAX_PARTS_PER_COMPOSITE * MAX_ROWS_PER_REQUEST


@dataclass(frozen=True, slots=True)
class _LoginJob:
    ticket: int
    anew: bool


class SalesforceWriter:
    """Implements `Writer` for one org. Starts its threads, and to log in, at once."""

    def __init__(
        self,
        org: str,
        client: Client,
        clock: Clock,
        lease: Lease,
        settings: WriterSettings,
        meter: RequestMeter | None = None,
        rng: Random | None = None,
    ) -> None:
        self._org = org
        self._client = client
        self._clock = clock
        self._lease = lease
        self._meter = meter or NoMeter()
        self._settings = settings
        self._rng = rng or SystemRandom()
        self._changed = threading.Condition()
        self._queue = RowQueue()
        self._gate = Gate(self._rng)
        self._size = RequestSize()
        self._results: list[Result] = []
        self._sender = Sender(client, self._may_send, self._meter, clock, self._rng)
        self._logging_in = False
        self._refused: str | None = None
        self._closing = False
        self._bug: BaseException | None = None
        self._threads = [
            # Daemons: a request that hangs must not keep the process from ending.
            threading.Thread(target=self._run, name=f"salesforce-{org}-{number}", daemon=True)
            for number in range(self._settings.requests_in_flight)
        ]
        for thread in self._threads:
            thread.start()

    # -- called by the worker ----------------------------------------------------------------

    def room(self, org: str) -> int:
        with self._changed:
            is_shut = self._closing or self._gate.closed_for_s(self._clock.monotonic_s()) > 0
            if org != self._org or is_shut or not self._is_logged_in():
                return 0
            return max(0, self._settings.window_rows - len(self._queue))

    def submit(self, rows: Sequence[Owed]) -> None:
        with self._changed:
            now_s = self._clock.monotonic_s()
            closed_s = self._gate.closed_for_s(now_s)
            malformed = 0
            for row in rows:
                if row.org != self._org:
                    raise ValueError(f"a row of org {row.org!r} for the writer of {self._org!r}")
                task_id = task_id_18(row.task_id)
                if task_id is None:
                    malformed += 1
                    self._tell(row, Reject(MALFORMED_ID))
                elif closed_s > 0 or self._closing:
                    self._tell(row, self._given_back(closed_s))
                else:
                    self._queue.add(row, task_id, now_s)
            self._changed.notify_all()
        if malformed:
            self._meter.rows("reject", malformed)

    def results(self) -> list[Result]:
        with self._changed:
            if self._bug is not None:
                raise RuntimeError("a thread of the Salesforce writer has failed") from self._bug
            results, self._results = self._results, []
            return results

    def wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._results or self._bug), timeout_s)

    def quiesce(self, partitions: Collection[int], deadline_s: float) -> None:
        with self._changed:
            now_s = self._clock.monotonic_s()
            for row in self._queue.withdraw(now_s, partitions):
                self._tell(row, Retry(0.0, QUIESCED, whole_org=True))
            self._queue.recall(partitions)
            self._changed.notify_all()
            until_s = now_s + deadline_s
            while self._queue.flying(partitions) and self._bug is None:
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0:
                    log.warning(
                        "revoke deadline passed with rows in flight",
                        extra={
                            "org": self._org,
                            "partitions": sorted(partitions),
                            "rows": self._queue.flying(partitions),
                        },
                    )
                    return
                self._changed.wait(min(left_s, IDLE_WAIT_MAX_S))

    def drop(self, partitions: Collection[int]) -> None:
        with self._changed:
            self._queue.withdraw(self._clock.monotonic_s(), partitions)
            self._queue.recall(partitions, drop=True)
            self._results = [r for r in self._results if r.partition not in partitions]
            self._changed.notify_all()

    def ready(self) -> bool:
        with self._changed:
            return self._is_logged_in() and not self._gate.is_shut(self._clock.monotonic_s())

    def close(self, deadline_s: float) -> None:
        """End the threads; what was not sent comes back, what is in flight has so long."""
        until_s = self._clock.monotonic_s() + deadline_s
        with self._changed:
            self._closing = True
            for row in self._queue.withdraw(self._clock.monotonic_s()):
                self._tell(row, Retry(0.0, QUIESCED, whole_org=True))
            self._queue.recall()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, until_s - self._clock.monotonic_s()))
        self._client.close()

    # -- the threads -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (job := self._next_job()) is not None:
                if isinstance(job, Batch):
                    began_s = self._clock.monotonic_s()
                    done = self._sender.send(job)
                    self._complete(job, done, self._clock.monotonic_s() - began_s)
                else:
                    self._log_in(job)
        finally:
            # A bug must end the process, not leave rows in flight for ever: `results` raises it.
            bug = sys.exception()
            if bug is not None:
                with self._changed:
                    self._bug = bug
                    self._changed.notify_all()

    def _next_job(self) -> Batch | _LoginJob | None:
        """Wait for something to do. None: the writer is closing."""
        with self._changed:
            while not self._closing:
                now_s = self._clock.monotonic_s()
                job = self._take_job(now_s)
                if job is not None:
                    return job
                self._changed.wait(self._idle_s(now_s))
            return None

    def _take_job(self, now_s: float) -> Batch | _LoginJob | None:
        if not self._is_logged_in():
            ticket = None if self._logging_in else self._gate.admit(now_s)
            if ticket is None:
                return None
            self._logging_in = True
            return _LoginJob(ticket, anew=self._gate.login_first)
        kind = self._due_kind(now_s)
        if kind is None or (self._size.crowded and self._queue.flying() > 0):
            return None
        ticket = self._gate.admit(now_s)
        if ticket is None:
            return None
        if self._queue.has_halves():
            return self._queue.take_half(ticket)
        limit = self._most_rows(kind, now_s)
        if kind is Kind.WRITE and self._gate.is_open and self._queue.ready(kind) > limit:
            limit = self._size.rows_of_all_parts(now_s)
        return self._queue.take(limit, self._size.rows(now_s), ticket, kind)

    def _due_kind(self, now_s: float) -> Kind | None:
        """What to do now: for whoever waits longest, once its request is full or the linger is
        over. None: nothing.
        """
        if self._queue.has_halves():
            return Kind.WRITE
        due = [
            (self._queue.ready_since_s(kind), kind) for kind in Kind if self._is_due(kind, now_s)
        ]
        return min(due, key=itemgetter(0))[1] if due else None

    def _is_due(self, kind: Kind, now_s: float) -> bool:
        is_full = self._queue.ready(kind) >= self._most_rows(kind, now_s)
        return is_full or now_s - self._queue.ready_since_s(kind) >= self._settings.linger_s

    def _most_rows(self, kind: Kind, now_s: float) -> int:
        """Of one request to one resource."""
        if kind is Kind.VERIFY:
            return MAX_IDS_PER_RETRIEVE
        size = self._size.rows(now_s)
        if kind is Kind.WRITE:
            return size
        return min(size, max(MAX_ROWS_AGAIN, self._queue.ready(kind) // MAX_REQUESTS_AGAIN))

    def _idle_s(self, now_s: float) -> float:
        """How long nothing can happen unless somebody notifies."""
        closed_s = self._gate.closed_for_s(now_s)
        oldest_s = min(self._queue.ready_since_s(kind) for kind in Kind)
        linger_s = oldest_s + self._settings.linger_s - now_s
        wait_s = max(closed_s, linger_s)
        return min(wait_s, IDLE_WAIT_MAX_S) if wait_s > 0 else IDLE_WAIT_MAX_S

    def _may_send(self, batch: Batch) -> bool:
        partitions = {entry.owed.partition for entry in batch.entries}
        return not batch.recalled and self._lease.holds(partitions)

    def _log_in(self, job: _LoginJob) -> None:
        """Log in, and describe Task: what the first write would need anyway.

        With `anew` although we are logged in: what is known of the org may be out of date.
        """
        done = Done()
        try:
            self._client.log_in(instead_of=self._client.generation if job.anew else None)
            self._client.fields()
        except OrgUnavailable as error:
            done.note(error.pause, str(error))
        except ConfigError as error:
            done.refuse(str(error))
        with self._changed:
            self._logging_in = False
            if done.pause is None:
                self._refused = None
                self._gate.login_first = False
                log.info("logged in", extra={"org": self._org, "org_id": self._client.org_id})
            # No answer to a write yet: the first request after a pause still goes alone.
            self._settle_gate(job.ticket, done)
            self._changed.notify_all()

    # -- the end of a request ----------------------------------------------------------------

    def _complete(self, batch: Batch, done: Done, took_s: float) -> None:
        with self._changed:
            now_s = self._clock.monotonic_s()
            if done.answered and not batch.verify:
                self._size.took(len(batch.entries), took_s)
                self._size.crowded = done.smaller
            if batch.recalled:
                for entry in batch.entries:
                    done.verdicts.setdefault(entry, Retry(0.0, QUIESCED, whole_org=True))
            told = self._queue.finish(batch, done.verdicts, now_s)
            closed_s = self._settle_gate(batch.ticket, done)
            if done.smaller and self._size.shrink(now_s):
                log.warning(
                    "request size reduced",
                    extra={"org": self._org, "rows": self._size.rows(now_s)},
                )
            for entry, verdict in told:
                given = verdict
                if closed_s > 0 and isinstance(verdict, Retry) and verdict.whole_org:
                    given = replace(verdict, after_s=self._after_pause_s(closed_s))
                self._tell(entry.owed, given)
            self._changed.notify_all()
        for result, count in count_by_name(verdict for _, verdict in told).items():
            self._meter.rows(result, count)

    def _settle_gate(self, ticket: int, done: Done) -> float:
        """What a request says of the org. Returns for how long the org is to be left alone."""
        now_s = self._clock.monotonic_s()
        if done.pause is not None:
            is_news = self._gate.is_current(ticket)
            closed_s = self._gate.failed(ticket, done.pause, now_s)
            self._refused = done.refused or self._refused
            if is_news:
                self._tell_pause(done.pause, done.code, closed_s)
        elif not done.answered:
            self._gate.unused(ticket)
        elif self._gate.passed(ticket):
            log.info("writing to the org resumed", extra={"org": self._org})
            self._meter.paused(0.0)
        closed_s = self._gate.closed_for_s(now_s)
        if closed_s > 0:
            # Also when the pause is not of this request's making: it may have left halves.
            for row in self._queue.withdraw(now_s):
                self._tell(row, self._given_back(closed_s))
        return closed_s

    def _tell_pause(self, pause: Pause, why: str, closed_s: float) -> None:
        fields = {
            "org": self._org,
            "kind": pause.name.lower(),
            "for_s": round(closed_s, 1),
            "why": why,
        }
        if pause is Pause.FAULT:
            log.error("writing to the org paused until somebody acts on the cause", extra=fields)
        else:
            log.warning("writing to the org paused", extra=fields)
        self._meter.paused(self._clock.now_ms() / 1000 + closed_s)

    def _given_back(self, closed_s: float) -> Verdict:
        """For a row that was not sent, because the org is paused."""
        if self._refused is not None:
            return Stop(self._refused)
        return Retry(self._after_pause_s(closed_s), ORG_PAUSED, whole_org=True)

    def _after_pause_s(self, closed_s: float) -> float:
        return closed_s + self._rng.uniform(0.0, RESUME_SPREAD_S)

    def _is_logged_in(self) -> bool:
        is_doubtful = self._logging_in or self._gate.login_first
        return self._client.logged_in and self._refused is None and not is_doubtful

    def _tell(self, row: Owed, verdict: Verdict) -> None:
        self._results.append(Result(row.message_id, row.partition, row.version, verdict))

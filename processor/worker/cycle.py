"""The cycle. The order of effects lives here and nowhere else.

    poll -> decode -> read states -> plan -> ONE transaction: statuses + settled results
         + dead letters + input offsets -> local store -> Salesforce writer -> results
         -> settled in a later cycle

Why this order loses nothing and never goes backwards: a status is durable before Salesforce is
asked to hold it, and it stays owed until Salesforce has confirmed it and that, too, is durable.
So the offsets never wait for Salesforce, and whoever owns the partition next finds what is owed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.core.events import Change
from processor.core.plan import Plan
from processor.core.settle import Deferral, Stop
from processor.errors import StoreBlocked, StoreFailed, Unavailable
from processor.ports import (
    Aborted,
    Clock,
    Committed,
    Decoder,
    Fenced,
    Meter,
    Outbox,
    RawRecord,
    Result,
    Source,
    Store,
    Transaction,
    Writer,
)
from processor.worker.claim import Claim
from processor.worker.dispatcher import Dispatcher
from processor.worker.lease import Lease
from processor.worker.partition import Assignment, Partition
from processor.worker.planner import Expiry, Planner
from processor.worker.reader import Reader
from processor.worker.restoration import Restoration, Restorations
from processor.worker.telemetry import CommitCounter, Gauges, StopReasons
from processor.worker.transaction import build

log = logging.getLogger(__name__)

_STORE_FAILED: Final = (
    "local store failed, and is restored from the status topic: where this comes again, check the "
    "disk of PROCESSOR_STATE__DIR"
)

ABORTED_WAIT_S: Final = 0.2
LONGEST_SLEEP_S: Final = 1.0  # without looking whether we are to stop
LEAVE_S: Final = 5.0  # to Kafka, when we leave: what is not settled by then is written once more


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long. A batch is larger while catching up: more collapses."""

    batch_records: int
    catch_up_records: int
    poll_timeout_s: float
    settle_interval_s: float
    revoke_deadline_s: float
    breaker: BreakerRules | None  # None: everything is let through
    settle_rows: int = 20_000
    expire_records: int = 1_000
    expire_interval_s: float = 1.0
    gauge_interval_s: float = 1.0


class Account(NamedTuple):
    """Events that were read, letters that were made of them and of rows, rows that stay owed."""

    events: int
    dead_letters: int
    rows_owed: int


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world."""

    source: Source
    decoder: Decoder
    outbox: Outbox
    store: Store
    writer: Writer
    meter: Meter
    clock: Clock
    claim: Claim
    lease: Lease


class Worker:
    """One member of the consumer group: owns partitions, and runs the cycle over them."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        limits: Limits,
        fields: Mapping[str, str],
        org: str = "default",
    ) -> None:
        self._p = ports
        self._rules = rules
        self._limits = limits
        self._assignment = Assignment()
        self._lease = ports.lease
        self._restorations = Restorations()
        self._reader = Reader(
            ports.source,
            ports.clock,
            self._assignment,
            limits.batch_records,
            limits.catch_up_records,
        )
        self._planner = Planner(ports.decoder, ports.store, rules, self._assignment)
        self._expiry = Expiry(ports.store, rules, limits.expire_records, limits.expire_interval_s)
        self._dispatcher = Dispatcher(ports.store, ports.writer, fields, org)
        self._counter = CommitCounter(ports.meter)
        self._stops = StopReasons()
        self._gauges = Gauges(
            ports.source, ports.store, ports.writer, ports.meter, limits.gauge_interval_s
        )
        self._fenced = False
        self._abandoned = self._closed = False
        self._owed_left = 0
        self._renew_at_s = 0.0

    # -- the loop ----------------------------------------------------------------------------

    def run(self, stopping: Callable[[], bool]) -> None:
        """Turn until told to stop; then hand the partitions over cleanly.

        Raises StopProcessing when going on would lose data; nothing more was committed then.
        """
        self._p.source.subscribe(self)
        while not stopping():
            self.turn()
        self.close()

    def turn(self) -> None:
        """One cycle."""
        if self._fenced:
            self._start_over()
            return
        self._p.claim.require()
        batches = self._reader.poll(self._poll_timeout_s())
        try:
            self._restore()
            self._take_results(self._p.writer.results())
            if not self._fenced:
                self._advance(batches)
            if not self._fenced:
                self._dispatcher.refill(self._proven(), self._p.clock.now_ms())
        except StoreFailed as failure:
            self._reader.rewind(self._assignment.running())
            self._restore_again(failure)
        self._tell()

    def close(self) -> None:
        """Leave the group: what is in flight is awaited, settled and committed."""
        if self._closed:
            return
        self._closed = True
        self.hurry()
        try:
            self._p.source.close()
        finally:
            self._p.writer.close(self._limits.revoke_deadline_s)
            self._p.outbox.close()

    def hurry(self) -> None:
        """We are to stop: what waits for Kafka gives up soon. Also called by another thread."""
        self._p.outbox.hurry(LEAVE_S)

    def abandon(self) -> None:
        """Leave after StopProcessing: no commit, no more requests."""
        self._abandoned = True
        self.close()

    def ready(self) -> tuple[bool, str]:
        """Joined and restored; else what is missing. Whether the org takes rows is a metric: else a
        rollout would stand still just when the org is down.
        """
        if self._fenced or not self._p.source.joined():
            return False, "not in the consumer group, or a topic is gone"
        restoring = self._assignment.restoring()
        if restoring:
            blocked = [r.blocked for r in restoring if r.blocked is not None]
            return False, f"waiting: {blocked[0]}" if blocked else "restoring"
        return True, "ready"

    def drained(self) -> bool:
        """Whether all input that was there is read, and nothing is owed to Salesforce."""
        return (
            not self._fenced
            and self._p.source.joined()
            and not self._assignment.restoring()
            and self._reader.drained()
            and not self._p.store.owed_count().total
        )

    def partitions(self) -> int:
        """How many are ours and run."""
        return len(self._assignment.running())

    def account(self) -> Account:
        """What has been done, and (once closed) what was left."""
        return Account(self._counter.events, self._counter.dead_letters, self._owed_left)

    # -- called by the source, from within poll ----------------------------------------------

    def assigned(self, partitions: Collection[int]) -> None:
        for number in sorted(partitions):
            log.info("partition assigned", extra={"partition": number})
            self._begin(number)

    def revoked(self, partitions: Collection[int]) -> None:
        """Still ours until this returns: what Salesforce has confirmed is made durable."""
        if self._abandoned:
            self._let_go(partitions)
            return
        for number in sorted(partitions):
            log.info("partition revoked", extra={"partition": number})
        self._p.writer.quiesce(partitions, self._limits.revoke_deadline_s)
        try:
            self._take_results(self._p.writer.results())
            if not self._fenced:
                running = self._assignment.which_run(partitions)
                self._publish({p.number: [] for p in running}, flush=True, hand_over=False)
                if self._closed:  # not of those whose store has failed meanwhile: they are closed
                    running = self._assignment.which_run(partitions)
                    owed = [self._p.store.owed_count(p.number).total for p in running]
                    self._owed_left += sum(owed)
        except StoreFailed as failure:
            self._restore_again(failure)
        self._let_go(partitions)

    def lost(self, partitions: Collection[int]) -> None:
        """Another member may own these already: nothing more is committed or sent."""
        for number in sorted(partitions):
            log.warning("partition lost", extra={"partition": number})
        self._let_go(partitions)

    # -- the steps of a cycle ----------------------------------------------------------------

    def _poll_timeout_s(self) -> float:
        now_s, longest_s = self._p.clock.monotonic_s(), self._limits.poll_timeout_s
        if restoring := self._assignment.restoring():
            longest_s = min(longest_s, self._restorations.wait_s(restoring, now_s))
        proven = [partition.number for partition in self._proven()]
        return self._dispatcher.wait_s(proven, self._p.clock.now_ms(), longest_s)

    def _proven(self) -> list[Partition]:
        """The running partitions that are surely ours."""
        running = self._assignment.running()
        held = self._lease.held([partition.number for partition in running])
        return [partition for partition in running if partition.number in held]

    def _to_prove(self) -> list[int]:
        """Those that the next transaction is to prove ours, because they have rows to send."""
        stale = self._lease.to_renew(self._assignment.running_numbers())
        return [number for number in stale if self._p.store.owed_count(number).total]

    def _restore(self) -> None:
        now_s = self._p.clock.monotonic_s()
        for restoration, position in self._restorations.step(self._assignment.restoring(), now_s):
            number = restoration.partition
            self._reader.start(self._assignment[number], position)
            seconds = self._p.clock.monotonic_s() - restoration.began_s
            self._p.meter.restored(seconds, restoration.restored)
            for reason, skipped in restoration.unusable.items():
                self._p.meter.unusable(reason, skipped)
            log.info(
                "partition running",
                extra={
                    "partition": number,
                    "offset": position.offset,
                    "restored": restoration.restored,
                    "seconds": round(seconds, 1),
                },
            )

    def _take_results(self, results: Sequence[Result]) -> None:
        """Confirmed rows wait to be published; all others get a new time in the store."""
        now = self._p.clock.now_ms()
        again: dict[int, list[Deferral]] = {}
        for result in results:
            partition = self._assignment.get(result.partition)
            if partition is None:  # given up meanwhile
                continue
            deferral = partition.settlements.take(result, now)
            if deferral is not None:
                again.setdefault(result.partition, []).append(deferral)
                if isinstance(result.verdict, Stop):
                    self._stops.add(result.verdict.what_to_change)
        self._stops.tell(now)
        for number in sorted(again):
            try:
                self._postpone(self._assignment[number], again[number], now)
            except StoreFailed as failure:  # the other partitions' results are not to be lost
                self._restore_again(failure, number)

    def _postpone(self, partition: Partition, deferrals: list[Deferral], now: int) -> None:
        store = self._p.store
        states = store.get_many(partition.number, {d.message_id for d in deferrals})
        store.put_many(partition.number, partition.settlements.postpone(deferrals, states, now))

    def _advance(self, records: Mapping[int, Sequence[RawRecord]]) -> None:
        read = self._assignment.which_run(records)
        try:
            self._publish({p.number: list(records[p.number]) for p in read})
        except Unavailable as failure:
            log.warning(
                "batch will be read again",
                extra={
                    "partitions": [partition.number for partition in read],
                    "retry_after_s": failure.retry_after_s,
                    "why": failure,
                },
            )
            self._p.meter.put_off()
            self._reader.rewind(read, failure.retry_after_s)

    def _publish(
        self,
        batches: dict[int, list[RawRecord]],
        *,
        flush: bool = False,
        hand_over: bool = True,
    ) -> None:
        """Decide, commit, and only then store and hand over."""
        now = self._p.clock.now_ms()
        flush = flush or self._assignment.flush_due(
            now, round(self._limits.settle_interval_s * 1000), self._limits.settle_rows
        )
        if flush:
            for partition in self._assignment.running():
                if partition.settlements:
                    batches.setdefault(partition.number, [])
        expiring = self._expiry.due(self._assignment, self._p.clock.monotonic_s())
        for number in (*expiring, *self._to_prove()):
            batches.setdefault(number, [])
        if not batches:
            return
        room = self._dispatcher.room() if hand_over else 0
        read = [number for number, batch in batches.items() if batch]
        decoded = self._planner.decode(batches, self._p.clock.monotonic_s())
        # Events that a throttle has cut off are among them, and count again when they are read.
        oddities = self._p.decoder.take_oddities()
        plans = self._planner.plans(decoded, expiring, flush=flush, now=now, room=room)
        positions = {number: self._assignment[number].position for number in batches}
        transaction = build(positions, batches, plans, self._p.claim.mark)
        began_s = self._p.clock.monotonic_s()
        outcome = self._p.outbox.commit(transaction)
        seconds = self._p.clock.monotonic_s() - began_s
        self._p.meter.transaction(seconds, type(outcome).__name__.lower())
        match outcome:
            case Committed():
                self._lease.proven(transaction.positions, began_s)
                self._committed(transaction, plans)
                self._counter.count(batches, plans, now)
                self._p.meter.oddities(oddities)
                self._keep(plans, outcome, transaction.marks, now)
            case Aborted(why, moving):
                if moving:
                    log.info("transaction aborted, as partitions move", extra={"why": why})
                else:
                    log.warning("transaction aborted", extra={"why": why})
                self._reader.rewind(self._assignment.which_run(read), ABORTED_WAIT_S)
            case Fenced(why):
                log.warning("fenced: rejoining the consumer group", extra={"why": why})
                self._fenced = True

    def _committed(self, transaction: Transaction, plans: Mapping[int, Plan]) -> None:
        """The partitions move on. What a throttle has cut off its batch is read again in its
        time.
        """
        now_s = self._p.clock.monotonic_s()
        for number, decided in plans.items():
            partition = self._assignment[number]
            partition.position = transaction.positions[number]
            partition.settlements.published(decided.considered)
            again_at_s = partition.throttle.committed(now_s)
            if again_at_s is not None:
                self._reader.rewind([partition])
                self._reader.hold([partition], again_at_s)

    def _keep(
        self, plans: Mapping[int, Plan], committed: Committed, marks: Mapping[int, str], now: int
    ) -> None:
        """The store follows the commit; the writer gets what is due at once."""
        for number, decided in plans.items():
            changes = list(decided.changes.values())
            changes += [Change(old, None) for old in decided.tombstones]
            if changes:
                checkpoint = committed.checkpoints[number]
                try:
                    self._p.store.put_many(number, changes, checkpoint, now, marks[number])
                except StoreFailed as failure:
                    self._restore_again(failure, number)
                    continue
            partition = self._assignment[number]
            partition.settlements.superseded(decided.superseding)
            self._dispatcher.submit(partition, decided.hand_over, now)

    # -- what goes wrong ---------------------------------------------------------------------

    def _begin(self, number: int, *, wipe: bool = False) -> Restoration:
        ports = self._p
        restoration = Restoration(
            number,
            ports.source,
            ports.outbox,
            ports.store,
            ports.clock,
            self._rules,
            ports.claim,
            wipe=wipe,
        )
        self._assignment[number] = self._made(restoration)
        return restoration

    def _made(self, restoration: Restoration) -> Partition:
        return Partition(restoration, self._rules, self._limits.breaker)

    def _let_go(self, partitions: Collection[int]) -> None:
        self._p.writer.drop(partitions)
        for number in partitions:
            self._lease.forget(number)
            partition = self._assignment.pop(number, None)
            if partition is not None:
                partition.close()
            self._p.store.close(number)

    def _restore_again(self, failure: StoreFailed, number: int | None = None) -> None:
        """Never merge on stale state: read what is missing back from the status topic, all of it
        where what is there can't be trusted.
        """
        if number is None:
            number = failure.partition
        doubtful = self._assignment.running_numbers() if number is None else [number]
        blocked = isinstance(failure, StoreBlocked)
        if not blocked:  # what is, is told at a bounded rate
            for each in doubtful:
                log.error(_STORE_FAILED, extra={"partition": each, "why": failure})
        self._p.source.pause(doubtful)
        self._let_go(doubtful)
        for each in doubtful:
            restoration = self._begin(each, wipe=not blocked)
            self._restorations.failed(restoration, failure, self._p.clock.monotonic_s())

    def _start_over(self) -> None:
        """All partitions count as lost: a new producer, and join the group anew."""
        self._let_go(list(self._assignment))
        now_s = self._p.clock.monotonic_s()
        if now_s < self._renew_at_s:
            self._p.writer.wait(min(self._renew_at_s - now_s, LONGEST_SLEEP_S))
            return
        try:
            self._p.outbox.renew()
        except Unavailable as failure:
            wait_s = failure.retry_after_s
            log.warning("no new producer yet", extra={"retry_after_s": wait_s, "why": failure})
            self._renew_at_s = now_s + wait_s
            return
        self._fenced = False
        self._p.source.rejoin()

    def _tell(self) -> None:
        """Logs and gauges, now and then."""
        clock = self._p.clock
        if self._gauges.due(clock.monotonic_s()):
            self._counter.log(clock.now_ms())
            next_due = self._dispatcher.next_due(self._assignment.running_numbers())
            self._gauges.tell(self._assignment, clock.now_ms(), clock.monotonic_s(), next_due)

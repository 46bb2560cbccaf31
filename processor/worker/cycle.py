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
from processor.core.events import MessageState
from processor.core.plan import Plan
from processor.core.settle import Deferral
from processor.errors import StoreBlocked, StoreFailed, Unavailable
from processor.ports import (
    Aborted,
    Change,
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
    Writer,
)
from processor.worker.breakers import Breakers
from processor.worker.claim import Claim
from processor.worker.dispatcher import Handing
from processor.worker.lease import Ownership
from processor.worker.planner import Deciding
from processor.worker.reader import Reading
from processor.worker.restoration import Takeover, Takeovers
from processor.worker.settlements import Settling
from processor.worker.telemetry import CommitCounter, Waits
from processor.worker.transaction import build

log = logging.getLogger(__name__)

ABORTED_WAIT_S: Final = 0.2
LONGEST_SLEEP_S: Final = 1.0  # without looking whether we are to stop
LEAVE_S: Final = 5.0  # to Kafka, when we leave: what is not settled by then is written once more
SLOWLY: Final = BreakerRules()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long. A batch is larger while catching up: more collapses."""

    batch_records: int = 5_000
    catch_up_records: int = 50_000
    poll_timeout_s: float = 0.5
    settle_interval_s: float = 5.0
    settle_rows: int = 20_000
    revoke_deadline_s: float = 30.0
    lease_s: float = 20.0
    expire_records: int = 1_000
    expire_interval_s: float = 1.0
    gauge_interval_s: float = 1.0
    breaker: BreakerRules | None = SLOWLY  # None: everything is let through


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
        self._settling = Settling(rules)
        self._handing = Handing(ports.store, ports.writer, self._settling, fields, org)
        self._takeovers = Takeovers()
        self._counter = CommitCounter(ports.meter)
        self._waits = Waits()
        self._breakers = Breakers(limits.breaker)
        self._deciding = Deciding(ports.decoder, ports.store, self._settling, rules, self._breakers)
        self._reading = Reading(
            ports.source, ports.clock, limits.batch_records, limits.catch_up_records
        )
        self._ownership = Ownership(limits.lease_s)
        self._fenced = False
        self._abandoned = self._closed = False
        self._owed_left = 0
        self._expire_at_s = self._gauges_at_s = self._renew_at_s = 0.0

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
        records = self._reading.poll(self._poll_timeout_s())
        try:
            self._take_over()
            self._take_results(self._p.writer.results())
            if not self._fenced:
                self._advance(records)
            if not self._fenced:
                self._handing.refill(self._proven(), self._p.clock.now_ms())
        except StoreFailed as failure:
            self._reading.rewind(self._reading.positions)
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

    def owns(self, partitions: Collection[int]) -> bool:
        """The lease (I6), asked from the writer's threads before each request."""
        holds = self._ownership.holds(partitions, self._p.clock.monotonic_s())
        return holds and self._p.claim.holds()

    def ready(self) -> tuple[bool, str]:
        """Joined and restored; else what is missing. Whether the org takes rows is a metric: else a
        rollout would stand still just when the org is down.
        """
        if self._fenced or not self._p.source.joined():
            return False, "not in the consumer group, or a topic is gone"
        if self._takeovers:
            return False, self._takeovers.why()
        return True, "ready"

    def drained(self) -> bool:
        """Whether all input that was there is read, and nothing is owed to Salesforce."""
        return (
            not self._fenced
            and self._p.source.joined()
            and not self._takeovers
            and self._reading.drained()
            and not self._p.store.owed_count().total
        )

    def partitions(self) -> int:
        """How many are ours and run."""
        return len(self._reading.positions)

    def account(self) -> Account:
        """What has been done, and (once closed) what was left."""
        return Account(self._counter.events, self._counter.dead_letters, self._owed_left)

    # -- called by the source, from within poll ----------------------------------------------

    def assigned(self, partitions: Collection[int]) -> None:
        log.info("assigned partitions=%s", sorted(partitions))
        for partition in partitions:
            self._begin(partition)

    def revoked(self, partitions: Collection[int]) -> None:
        """Still ours until this returns: what Salesforce has confirmed is made durable."""
        if self._abandoned:
            self._let_go(partitions)
            return
        log.info("revoked partitions=%s", sorted(partitions))
        self._p.writer.quiesce(partitions, self._limits.revoke_deadline_s)
        try:
            self._take_results(self._p.writer.results())
            if not self._fenced:
                running = self._reading.positions.keys() & partitions
                self._publish({p: [] for p in running}, flush=True, hand_over=False)
                if self._closed:  # not of those whose store has failed meanwhile: they are closed
                    running = self._reading.positions.keys() & running
                    self._owed_left += sum(self._p.store.owed_count(p).total for p in running)
        except StoreFailed as failure:
            self._restore_again(failure)
        self._let_go(partitions)

    def lost(self, partitions: Collection[int]) -> None:
        """Another member may own these already: nothing more is committed or sent."""
        log.warning("lost partitions=%s", sorted(partitions))
        self._let_go(partitions)

    # -- the steps of a cycle ----------------------------------------------------------------

    def _poll_timeout_s(self) -> float:
        now_s, longest_s = self._p.clock.monotonic_s(), self._limits.poll_timeout_s
        if self._takeovers:
            longest_s = min(longest_s, self._takeovers.wait_s(now_s))
        return self._handing.wait_s(self._proven(), self._p.clock.now_ms(), longest_s)

    def _proven(self) -> Collection[int]:
        """The running partitions that are surely ours."""
        return self._ownership.held(self._reading.positions, self._p.clock.monotonic_s())

    def _to_prove(self) -> Collection[int]:
        """Those that the next transaction is to prove ours, because they have rows to send."""
        now_s = self._p.clock.monotonic_s()
        stale = self._ownership.to_renew(self._reading.positions, now_s)
        return [p for p in stale if self._p.store.owed_count(p).total]

    def _take_over(self) -> None:
        for takeover, position in self._takeovers.step(self._p.clock.monotonic_s()):
            partition = takeover.partition
            self._reading.start(partition, position)
            seconds = self._p.clock.monotonic_s() - takeover.began_s
            self._p.meter.restored(seconds, takeover.restored)
            for reason, skipped in takeover.unusable.items():
                self._p.meter.unusable(reason, skipped)
            log.info(
                "running partition=%d offset=%d restored=%d seconds=%.1f",
                partition, position.offset, takeover.restored, seconds,
            )  # fmt: skip

    def _take_results(self, results: Sequence[Result]) -> None:
        """Confirmed rows wait to be published; all others get a new time in the store."""
        now = self._p.clock.now_ms()
        again: dict[int, list[Deferral]] = {}
        for result in results:
            deferral = self._settling.take(result, now)
            if deferral is not None:
                again.setdefault(result.partition, []).append(deferral)
        for partition in sorted(again.keys() & self._reading.positions.keys()):
            deferrals = again[partition]
            try:
                states = self._p.store.get_many(partition, {d.message_id for d in deferrals})
                self._p.store.put_many(partition, self._settling.postpone(deferrals, states, now))
            except StoreFailed as failure:  # the other partitions' results are not to be lost
                self._restore_again(failure, partition)

    def _advance(self, records: Mapping[int, Sequence[RawRecord]]) -> None:
        batches = {p: list(batch) for p, batch in records.items() if p in self._reading.positions}
        try:
            self._publish(batches)
        except Unavailable as failure:
            log.warning("batch is read again: %s", failure)
            self._p.meter.put_off()
            self._reading.rewind(batches, failure.retry_after_s)

    def _publish(
        self,
        batches: dict[int, list[RawRecord]],
        *,
        flush: bool = False,
        hand_over: bool = True,
    ) -> None:
        """Decide, commit, and only then store and hand over."""
        now, limits = self._p.clock.now_ms(), self._limits
        flush = flush or self._settling.flush_due(
            now, round(limits.settle_interval_s * 1000), limits.settle_rows
        )
        if flush:
            for partition in self._settling.partitions():
                if partition in self._reading.positions:
                    batches.setdefault(partition, [])
        expiring = self._expiring()
        for partition in (*expiring, *self._to_prove()):
            batches.setdefault(partition, [])
        if not batches:
            return
        room = self._handing.room() if hand_over else 0
        read = [p for p, batch in batches.items() if batch]
        plans = self._deciding.plans(
            self._deciding.decode(batches, self._p.clock.monotonic_s()),
            self._reading.positions,
            expiring,
            flush=flush,
            now=now,
            room=room,
        )
        transaction = build(self._reading.positions, batches, plans, self._p.claim.mark)
        began_s = self._p.clock.monotonic_s()
        outcome = self._p.outbox.commit(transaction)
        seconds = self._p.clock.monotonic_s() - began_s
        self._p.meter.transaction(seconds, type(outcome).__name__.lower())
        match outcome:
            case Committed():
                self._reading.committed(transaction.positions)
                self._slow_down()
                self._ownership.proven(transaction.positions, began_s)
                self._settle_published(plans)
                self._counter.count(batches, plans, now)
                self._keep(plans, outcome, transaction.marks, now)
            case Aborted(why, moving):
                if moving:
                    log.info("transaction aborted while partitions move (harmless): %s", why)
                else:
                    log.warning("transaction aborted: %s", why)
                self._reading.rewind(read, ABORTED_WAIT_S)
            case Fenced(why):
                log.warning("fenced: %s", why)
                self._fenced = True

    def _slow_down(self) -> None:
        """What a breaker has cut off a committed batch is read again, in its time."""
        for partition, at_s in self._breakers.committed(self._p.clock.monotonic_s()).items():
            self._reading.rewind([partition])
            self._reading.hold([partition], at_s)

    def _keep(
        self, plans: Mapping[int, Plan], committed: Committed, marks: Mapping[int, str], now: int
    ) -> None:
        """The store follows the commit; the writer gets what is due at once."""
        for partition, decided in plans.items():
            changes = [Change(old, new) for old, new in decided.changes.values()]
            changes += [Change(old, None) for old in decided.tombstones]
            if changes:
                checkpoint = committed.checkpoints[partition]
                try:
                    self._p.store.put_many(partition, changes, checkpoint, now, marks[partition])
                except StoreFailed as failure:
                    self._restore_again(failure, partition)
                    continue
            self._settling.superseded(partition, decided.superseding)
            self._handing.submit(partition, decided.hand_over, now)

    # -- what goes wrong ---------------------------------------------------------------------

    def _begin(self, partition: int, *, wipe: bool = False) -> None:
        ports = self._p
        self._takeovers.add(
            Takeover(
                partition,
                ports.source,
                ports.outbox,
                ports.store,
                ports.clock,
                self._rules,
                ports.claim,
                wipe=wipe,
            )
        )

    def _let_go(self, partitions: Collection[int]) -> None:
        self._p.writer.drop(partitions)
        for partition in partitions:
            self._takeovers.drop(partition)
            self._settling.forget(partition)
            self._reading.forget(partition)
            self._breakers.forget(partition)
            self._ownership.forget(partition)
            self._p.store.close(partition)

    def _restore_again(self, failure: StoreFailed, partition: int | None = None) -> None:
        """Never merge on stale state: read what is missing back from the status topic, all of it
        where what is there can't be trusted.
        """
        if partition is None:
            partition = failure.partition
        doubtful = list(self._reading.positions) if partition is None else [partition]
        blocked = isinstance(failure, StoreBlocked)
        if not blocked:  # what is, is told at a bounded rate
            log.error("store failed partitions=%s why=%s", doubtful, failure)
        self._p.source.pause(doubtful)
        self._let_go(doubtful)
        for number in doubtful:
            self._begin(number, wipe=not blocked)
            self._takeovers.failed(number, failure, self._p.clock.monotonic_s())

    def _start_over(self) -> None:
        """All partitions count as lost: a new producer, and join the group anew."""
        self._let_go({*self._reading.positions, *self._takeovers.partitions()})
        now_s = self._p.clock.monotonic_s()
        if now_s < self._renew_at_s:
            self._p.writer.wait(min(self._renew_at_s - now_s, LONGEST_SLEEP_S))
            return
        try:
            self._p.outbox.renew()
        except Unavailable as failure:
            log.warning("no new producer yet, again in_s=%.1f: %s", failure.retry_after_s, failure)
            self._renew_at_s = now_s + failure.retry_after_s
            return
        self._fenced = False
        self._p.source.rejoin()

    # -- counting ----------------------------------------------------------------------------

    def _expiring(self) -> dict[int, list[MessageState]]:
        now_s = self._p.clock.monotonic_s()
        if now_s < self._expire_at_s:
            return {}
        self._expire_at_s = now_s + self._limits.expire_interval_s
        found = {}
        for partition, position in self._reading.positions.items():
            horizon = position.stream_time - self._rules.retention_ms
            states = self._p.store.expired(partition, horizon, self._limits.expire_records)
            if states:
                found[partition] = states
        return found

    def _settle_published(self, plans: Mapping[int, Plan]) -> None:
        for partition, decided in plans.items():
            self._settling.published(partition, decided.considered)

    def _tell(self) -> None:
        now_s = self._p.clock.monotonic_s()
        if now_s >= self._gauges_at_s:
            self._gauges_at_s = now_s + self._limits.gauge_interval_s
            self._counter.log(self._p.clock.now_ms())
            store = self._p.store
            owed = store.owed_count()
            self._p.meter.gauges(owed, store.count(), self._p.source.lag())
            self._waits.joining(now_s, joined=self._p.source.joined())
            self._waits.owing(now_s, owed, self._handing.next_due(self._reading.positions))
            self._p.meter.blocked(self._takeovers.blocked())
            self._p.meter.slowed(len(self._breakers.open()))
            self._p.meter.org_ready(self._p.writer.ready())
            silent_s = self._p.source.silent_s()
            if silent_s < float("inf"):
                self._p.meter.kafka_answered(self._p.clock.now_ms() / 1000 - silent_s)

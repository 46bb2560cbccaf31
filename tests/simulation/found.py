"""Mistakes that the simulation has found in the worker, put back in, each with its story."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from processor.core.due import Rules
from processor.core.settle import Deferral
from processor.errors import StoreFailed
from processor.ports import CommittedOffset, RawRecord, Result, Transaction
from processor.worker.cycle import Limits, Ports, Worker
from processor.worker.lease import Ownership
from processor.worker.partition import Partition
from processor.worker.reader import Reader
from tests.simulation.kafka import SimOutbox
from tests.simulation.store import SimStore


class HandsAllOver(Worker):
    """Rows of partitions that were still being restored were handed to Salesforce.

    The store had them open, with states of which newer ones were yet to be read and without a
    doubt noted; the restore then made the same rows due once more.
    """

    def _proven(self) -> list[Partition]:
        return list(self._assignment.values())


class SendsWhenFenced(Worker):
    """After "fenced" the same turn still handed rows over, though the partitions count as lost."""

    def _publish(self, *args: Any, **kwargs: Any) -> None:
        super()._publish(*args, **kwargs)
        if self._fenced:
            self._dispatcher.refill(self._assignment.running(), self._p.clock.now_ms())


class SendsWhenRevoked(Worker):
    """The last transaction for a revoked partition handed its newer version over.

    A settlement of the superseded version made it due at once: after `quiesce`, before `drop`.
    """

    def _publish(
        self,
        batches: dict[int, list[RawRecord]],
        *,
        flush: bool = False,
        hand_over: bool = True,
    ) -> None:
        super()._publish(batches, flush=flush, hand_over=True)


class ResultsLost(Worker):
    """One partition's store failed while results were taken: the others' results were gone, and
    their rows stayed in flight for ever.
    """

    def _take_results(self, results: Sequence[Result]) -> None:
        now = self._p.clock.now_ms()
        again: dict[int, list[Deferral]] = {}
        for result in results:
            partition = self._assignment.get(result.partition)
            if partition and (deferral := partition.settlements.take(result, now)):
                again.setdefault(result.partition, []).append(deferral)
        for number in sorted(again):
            try:
                self._postpone(self._assignment[number], again[number], now)
            except StoreFailed as failure:
                raise StoreFailed(str(failure), number) from failure


class RunningTooEarly(Worker):
    """On revoke, the partitions to publish were listed before the results were taken.

    A store that failed while they were taken let its partition go: it had no position any more.
    """

    def revoked(self, partitions: Collection[int]) -> None:
        self._p.writer.quiesce(partitions, self._limits.revoke_deadline_s)
        running = [partition.number for partition in self._assignment.which_run(partitions)]
        try:
            self._take_results(self._p.writer.results())
            if not self._fenced:
                self._publish({p: [] for p in running}, flush=True, hand_over=False)
        except StoreFailed as failure:
            self._restore_again(failure)
        self._let_go(partitions)


class RewindsAll(Worker):
    """An aborted transaction rewound partitions of which nothing had been read.

    In a revoke callback that is inside a poll, which then returned what it had fetched before:
    it was committed, then read once more, and its poison was a dead letter twice.
    """

    def __init__(self, ports: Ports, rules: Rules, limits: Limits, *args: Any) -> None:
        super().__init__(ports, rules, limits, *args)
        self._reader = RewindingAll(
            ports.source,
            ports.clock,
            self._assignment,
            limits.batch_records,
            limits.catch_up_records,
        )


class RewindingAll(Reader):
    """See RewindsAll."""

    def rewind(self, partitions: Collection[Partition], wait_s: float = 0.0) -> None:
        super().rewind(self._assignment.running(), wait_s)


class TrustsARestore(Ownership):
    """A process was stopped while it took a partition over, and lost it.

    Awake, it did not know yet, restored what the new owner had published since, and sent that.
    The new owner was in no doubt: it had made those versions itself.
    """

    def _age_s(self, partition: int, now_s: float) -> float:
        return super()._age_s(partition, now_s) if partition in self._proven_s else 0.0


class ActsOnPoll(Worker):
    """A poll renewed the lease.

    A process was stopped for longer than a doubt lasts. Awake, it polled once, and sent old rows
    before it heard that it had been expelled. Another was cut off from Kafka for as long, and not
    from Salesforce: it polled in vain, was never told (as librdkafka's client of KIP-848 is not),
    read one of its rows back, found the new owner's value, and put the old one in its place.
    """

    def _restore(self) -> None:
        super()._restore()
        self._lease.proven(self._assignment.running_numbers(), self._p.clock.monotonic_s())


class DatedLate(SimStore):
    """A checkpoint was dated when it was written, not when it was still the truth.

    A process that was stopped in between for longer than tombstones are kept believed it later,
    and a message that had expired meanwhile rose from the dead.
    """

    def _date(self, as_of_ms: int | None) -> int:
        return super()._date(None)


class NegativeOffset(SimOutbox):
    """A partition that was never committed has no offset to send, so the transaction had none.

    A zombie that had begun with such a partition settled what it restored later, unfenced.
    """

    def _places(self, transaction: Transaction) -> dict[int, CommittedOffset]:
        places = super()._places(transaction)
        return {p: at for p, at in places.items() if transaction.positions[p].offset >= 0}

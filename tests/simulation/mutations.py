"""Deliberate mistakes, one each, put into a part of the process that is simulated.

They show that the simulation can fail: `test_mutations.py` asks for a seed that catches each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.core.events import Change, MessageState, Outcome
from processor.core.plan import Plan
from processor.core.settle import Retry, Settled, Unknown
from processor.errors import StopProcessing, StoreBlocked, StoreFailed
from processor.ports import (
    Aborted,
    Clock,
    Committed,
    CommittedOffset,
    Fenced,
    Loaded,
    Owed,
    Result,
    Transaction,
)
from processor.worker.cycle import Limits, Ports, Worker
from processor.worker.lease import Ownership
from processor.worker.partition import Partition
from processor.worker.planner import Planner
from processor.worker.restoration import Restoration
from processor.worker.throttle import Throttle, _Slot
from tests.simulation.broker import Txn
from tests.simulation.group import Identity
from tests.simulation.kafka import SimOutbox, SimRestore
from tests.simulation.run import Build
from tests.simulation.store import SimStore
from tests.simulation.weather import LEASE_S
from tests.simulation.writer import SimWriter

Step = Committed | Aborted | Fenced


class OffsetsFirst(SimOutbox):
    """The offsets are committed before the statuses."""

    def commit(self, transaction: Transaction) -> Step:
        before = super().commit(Transaction(transaction.positions, transaction.marks))
        return super().commit(transaction) if isinstance(before, Committed) else before


class StoreFirst(SimOutbox):
    """The store is updated before the commit."""

    def commit(self, transaction: Transaction) -> Step:
        assert isinstance(self.store, LenientStore)
        for partition, states in transaction.statuses.items():
            self.store.keep(partition, states)
        return super().commit(transaction)


class LenientStore(SimStore):
    """Does not mind that a state is not what it was said to be."""

    def keep(self, partition: int, states: Iterable[MessageState]) -> None:
        self._open[partition].update((state.message_id, state) for state in states)

    def to_put(self, partition: int, changes: Iterable[Change]) -> Iterable[Change]:
        kept = self._open[partition]
        for change in changes:
            if some := change.old or change.new:
                yield Change(kept.get(some.message_id), change.new)


class SettledAtOnce(SimWriter):
    """A row counts as settled when it is handed over."""

    def submit(self, rows: Sequence[Owed]) -> None:
        super().submit(rows)
        self._results += [Result(r.message_id, r.partition, r.version, Settled()) for r in rows]


class SeenIsSettled(SimStore):
    """What the status topic holds is taken for written."""

    def to_load(self, changes: Loaded) -> Loaded:
        return [
            (key, state and replace(state, settled_version=state.version)) for key, state in changes
        ]


class DeafToLost(Worker):
    """Goes on to commit for partitions that were lost."""

    def lost(self, partitions: Collection[int]) -> None:
        self._p.source.pause(partitions)


class DeafToRevoked(Worker):
    """Partitions that have moved stay in the plan."""

    def revoked(self, partitions: Collection[int]) -> None:
        self._p.source.pause(partitions)


class Unforgetting(Ownership):
    """What was proven once stays so when the partition is given up."""

    def forget(self, partition: int) -> None:
        pass


class Trusting(Ownership):
    """The lease is never refused."""

    def holds(self, partitions: Iterable[int], now_s: float) -> bool:
        return True


class Tardy(Ownership):
    """A proof counts from when the answer came."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(LEASE_S)
        self._clock = clock

    def proven(self, partitions: Iterable[int], began_s: float) -> None:
        super().proven(partitions, self._clock.monotonic_s())


class TwoInFlight(SimWriter):
    """Rows of one Task go out side by side."""

    def _line_of(self, row: Owed) -> str:
        return f"{row.message_id} {row.version}"


class LettersLost(SimOutbox):
    """A dead letter that can't be written is let go."""

    def _dead_letters(self, txn: Txn, transaction: Transaction) -> None:
        if not self._world.chance(self._weather.dead_letter_fails):
            txn.letters += transaction.dead_letters


class UncommittedRestore(SimRestore):
    """Restores whatever lies in the log."""

    def _visible(self, txn: Txn) -> bool:
        return True

    def _limit(self) -> int:
        return self.end


class ShortRestore(SimRestore):
    """Restores to the last stable offset of its beginning."""

    def _mark(self) -> int:
        return self._log.stable_end()


class UncommittedOutbox(SimOutbox):
    """See UncommittedRestore."""

    restore_type = UncommittedRestore


class ShortOutbox(SimOutbox):
    """See ShortRestore."""

    restore_type = ShortRestore


def by_code(state: MessageState) -> MessageState:
    """Nothing is owed where the code is the one that was settled last."""
    if state.code == state.settled_code and state.settled_outcome is Outcome.WRITTEN:
        return replace(state, settled_version=state.version)
    return state


class PlanningByCode(Planner):
    """What is owed is told by codes."""

    def plans(self, *args: Any, **kwargs: Any) -> dict[int, Plan]:
        plans = super().plans(*args, **kwargs)
        for decided in plans.values():
            decided.changes = {
                key: Change(change.old, change.new and by_code(change.new))
                for key, change in decided.changes.items()
            }
            decided.hand_over = [state for state in decided.hand_over if by_code(state).owed]
        return plans


class OwedByCode(Worker):
    """See PlanningByCode."""

    def __init__(self, ports: Ports, rules: Rules, *args: Any) -> None:
        super().__init__(ports, rules, *args)
        self._planner = PlanningByCode(ports.decoder, ports.store, rules, self._assignment)


class NoOffsets(SimOutbox):
    """A transaction that moves no offset carries none."""

    def commit(self, transaction: Transaction) -> Step:
        positions = transaction.positions
        known = self._broker.offsets
        if all(p in known and at.offset == known[p].offset for p, at in positions.items()):
            transaction = replace(transaction, positions={})
        return super().commit(transaction)


class Unnamed(SimOutbox):
    """Sends the group metadata from before the join, which names no member."""

    def _add_offsets(
        self, txn: Txn, positions: dict[int, CommittedOffset], who: Identity | None
    ) -> str:
        return super()._add_offsets(txn, positions, None)


class Heedless(LenientStore):
    """A write that fails goes unnoticed."""

    def put_many(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().put_many(*args, **kwargs)
        except StoreFailed:
            return


class RunsOnBlocked(Worker):
    """A store that is kept, because the machine blocked a write, is taken for up to date."""

    def _restore_again(self, failure: StoreFailed, partition: int | None = None) -> None:
        if not isinstance(failure, StoreBlocked):
            super()._restore_again(failure, partition)


class NeverInDoubt(SimStore):
    """Nobody remembers that an outcome was unknown."""

    def to_put(self, partition: int, changes: Iterable[Change]) -> Iterable[Change]:
        for change in changes:
            yield Change(change.old, change.new and replace(change.new, doubt_at=0))


class UnknownIsRetry(SimWriter):
    """No answer is taken for "not written"."""

    def results(self) -> list[Result]:
        return [
            r._replace(verdict=Retry(0.1, "TIMEOUT")) if isinstance(r.verdict, Unknown) else r
            for r in super().results()
        ]


class Markless(SimStore):
    """Stream time lives beside the committed offset alone."""

    def mark(self, partition: int) -> str:
        return ""


class LastWins(SimStore):
    """A restore takes whatever record comes last."""

    def load(self, partition: int, changes: Loaded, *args: Any, **kwargs: Any) -> None:
        ids = {message_id for message_id, _ in changes}
        super().load(partition, [(i, None) for i in ids], *args, **kwargs)
        super().load(partition, list(dict(changes).items()), *args, **kwargs)


class ExpiresOwed(SimStore):
    """What is old expires, owed or not."""

    def expired(self, partition: int, before_ms: int, limit: int) -> list[MessageState]:
        old = [s for s in self._open[partition].values() if s.last_event_time < before_ms]
        return [replace(state, settled_version=state.version) for state in old[:limit]]


class StoppingThrottle(Throttle):
    """Ends the process before the batch is committed: so it meets the same one for ever."""

    def judge(self, *args: Any) -> None:
        super().judge(*args)
        if self._next is not None and self._next[0].is_open:
            raise StopProcessing("most of the recent events can't be decoded")


class ShutThrottle(Throttle):
    """Open once, open for ever."""

    def _new_slot(self, now_s: float) -> _Slot:
        return _Slot(0, now_s + 6.0)


class ForgetfulThrottle(Throttle):
    """What was cut off a batch is not read again."""

    def committed(self, now_s: float) -> float | None:
        super().committed(now_s)
        return None


def slowed_by(make: Callable[[int, BreakerRules | None], Throttle]) -> Build:
    """A worker whose partitions have such a throttle."""

    class Slowed(Worker):
        def _made(self, restoration: Restoration) -> Partition:
            partition = super()._made(restoration)
            partition.throttle = make(partition.number, self._limits.breaker)
            return partition

    return Slowed


def never_too_late(ports: Ports, rules: Rules, limits: Limits, fields: Mapping[str, str]) -> Worker:
    """An event older than the retention begins an empty history."""
    worker = Worker(ports, replace(rules, retention_ms=10**12), limits, fields)
    worker._rules = worker._expiry._rules = rules
    return worker

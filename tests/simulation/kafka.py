"""A process's ends of the broker: what it reads, and what it writes in transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from processor.core.events import DeliveryEvent, MessageState
from processor.core.report.fields import Oddities
from processor.errors import Rejection, StopProcessing, StoreFailed, Unavailable
from processor.ports import (
    Aborted,
    Committed,
    CommittedOffset,
    Fenced,
    RawRecord,
    RebalanceListener,
    Restored,
    Store,
    Transaction,
)
from tests.simulation.broker import Broker, Fate, SimRecord, Txn
from tests.simulation.group import Identity, Member
from tests.simulation.machine import Machine
from tests.simulation.weather import SESSION_S

RESTORE_STEP = 4


def away(broker: Broker, machine: Machine) -> bool:
    """Whether the broker can't be reached from there."""
    return broker.is_down() or machine.silent_since is not None


class SimDecoder:
    """Records are decoded already; the registry may be away."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._oddities = Oddities()

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        world = self._machine.world
        self._oddities.stamps_missing += len(records)
        if records and world.chance(world.weather.registry_down):
            raise Unavailable("registry", world.rng.uniform(0.1, 1.0))
        return [r.meaning for r in records if isinstance(r, SimRecord)]

    def take_oddities(self) -> Oddities:
        return self._oddities.take()


class SimSource:
    """Implements `ports.Source`. `told`: the partitions that are ours as far as we were told."""

    def __init__(self, machine: Machine, broker: Broker) -> None:
        self.told: set[int] = set()
        self._machine, self._broker, self._world = machine, broker, machine.world
        self._member: Member | None = None
        self._identity: Identity | None = None
        self._listener: RebalanceListener | None = None
        self._next: dict[int, int] = {}
        self._bases: dict[int, int] = {}
        self._found: dict[int, int] = {}
        self._paused: set[int] = set()
        self._heard_at = float("-inf")
        self._joined = self._has_left = False
        self._tells_itself = self._world.weather.tells_itself
        self._notice_at = -1.0

    def member(self) -> Member | None:
        return self._member

    def identity(self) -> Identity | None:
        """Who we are in the group, as of the last poll."""
        return self._identity if self.told else None

    def subscribe(self, listener: RebalanceListener) -> None:
        self._listener = listener
        self._member = self._broker.group.join(self._machine.name)

    def poll(self, max_records: int, timeout_s: float) -> Mapping[int, Sequence[RawRecord]]:
        self._machine.point("poll")
        self._machine.rest(timeout_s)
        if away(self._broker, self._machine):
            self._time_out()
            return {}
        self._heard_at = self._world.now
        early = self._fetch(max_records) if self._world.rng.random() < 0.5 else None
        self._serve()
        fetched = self._fetch(max_records) if early is None else early
        if self._member is not None and self._joined and self._member.in_group:
            self._identity = Identity(self._member.number, self._broker.group.generation)
        records = [r for r in fetched if r.place >= self._bases.get(r.number, r.place + 1)]
        if records:
            self._machine.rest(0.0)
            self._world.note(self._machine.name, "polls", *_span(records))
        batches: dict[int, list[RawRecord]] = {}
        for record in records:
            batches.setdefault(record.number, []).append(record)
        return batches

    def committed(self, partition: int, timeout_s: float) -> CommittedOffset | None:
        self._machine.point("asking")
        if away(self._broker, self._machine):
            return None
        found = self._broker.stable_offset(partition)
        if found is not None and partition in self.told:
            self._found[partition] = max(found.offset, 0)
        return found

    def is_stable(self, partition: int) -> bool:
        """Whether `committed` has answered for the partition since it became ours."""
        return partition in self._found

    def start(self, partition: int, offset: int) -> None:
        if partition in self.told:
            begin = offset if offset >= 0 else self._broker.begins[partition]
            self._next[partition] = self._bases[partition] = begin
            self._paused.discard(partition)

    def pause(self, partitions: Collection[int]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Collection[int]) -> None:
        self._paused.difference_update(partitions)

    def joined(self) -> bool:
        return self._joined

    def at_end(self, partition: int) -> bool:
        offset = self._next.get(partition)
        return offset is not None and self._broker.next_offset(partition, offset) == offset

    def silent_s(self) -> float:
        return self._world.now - self._heard_at

    def lag(self) -> Mapping[int, int]:
        if away(self._broker, self._machine):
            return {}
        return {
            partition: self._broker.left(
                partition, self._next.get(partition, self._found.get(partition, 0))
            )
            for partition in self.told
        }

    def rejoin(self) -> None:
        self._machine.point("rejoin")
        if self._member is not None:
            self._depart(self._member)
        self._forget(set(self.told))
        self._join()
        self._machine.fenced = False

    def close(self) -> None:
        if self.told and self._listener is not None:
            leaving = set(self.told)
            self._refresh()
            self._listener.revoked(leaving)
            self._forget(leaving)
        if self._member is not None:
            self._depart(self._member)

    # -- details -----------------------------------------------------------------------------

    def _depart(self, member: Member) -> None:
        """A broker that does not hear of it finds out by and by."""
        if away(self._broker, self._machine):
            self._broker.group.silence(member)
        else:
            self._broker.group.leave(member)

    def _time_out(self) -> None:
        """Nothing heard for a session."""
        since = self._machine.silent_since
        if since is None or self._world.now < since + SESSION_S or not self._tells_itself:
            return
        gone = set(self.told)
        self._forget(gone)
        self._joined, self._identity, self._has_left = False, None, True
        if gone and self._listener is not None:
            self._world.note(self._machine.name, "gives up", sorted(gone))
            self._listener.lost(sorted(gone))

    def _join(self) -> None:
        self._has_left = False
        self._joined = False
        self._identity = None
        self._member = self._broker.group.join(self._machine.name)

    def _refresh(self) -> None:
        if self._member is not None and self._member.in_group:
            self._identity = Identity(self._member.number, self._broker.group.generation)

    def _serve(self) -> None:
        """The rebalance callbacks that this poll runs."""
        member, listener = self._member, self._listener
        assert member is not None
        assert listener is not None
        if self._has_left:
            self._broker.group.leave(member)
            self._join()
        elif not member.in_group:
            if self._notice_at < 0:
                rng = self._world.rng
                late = rng.uniform(0.0, 3.0) if rng.random() < 0.5 else 0.0
                self._notice_at = self._world.now + late
            if self._world.now >= self._notice_at:
                self._notice_at = -1.0
                self._lose(listener)
        else:
            self._told_by_the_group(member, listener)

    def _told_by_the_group(self, member: Member, listener: RebalanceListener) -> None:
        rng = self._world.rng
        gives = member.to_give & self.told
        if member.to_take:
            takes = set(member.to_take)
            member.to_take.clear()
            self.told |= takes
            self._joined = True
            self._world.note(self._machine.name, "assigned", sorted(takes))
            listener.assigned(sorted(takes))
        elif gives and rng.random() < 0.8:
            self._refresh()
            self._world.note(self._machine.name, "revoked", sorted(gives))
            listener.revoked(sorted(gives))
            self._forget(gives)
            self._broker.group.gave(member, gives)
        else:
            self._joined = True

    def _lose(self, listener: RebalanceListener) -> None:
        gone = set(self.told)
        self._forget(gone)
        self._join()
        if gone:
            self._world.note(self._machine.name, "lost", sorted(gone))
            listener.lost(sorted(gone))

    def _forget(self, partitions: set[int]) -> None:
        self.told = self.told - partitions
        for partition in partitions:
            self._next.pop(partition, None)
            self._bases.pop(partition, None)
            self._found.pop(partition, None)
            self._paused.discard(partition)

    def _fetch(self, limit: int) -> list[SimRecord]:
        records: list[SimRecord] = []
        for partition in list(self._next):
            if partition not in self._paused and len(records) < limit:
                self._require_kept(partition, self._next[partition])
                most = self._world.rng.randint(1, limit - len(records))
                some = self._broker.read(partition, self._next[partition], most)
                if some:
                    self._next[partition] = some[-1].place + 1
                    records += some
        return records

    def _require_kept(self, partition: int, offset: int) -> None:
        broker = self._broker
        if not broker.begins[partition] <= offset <= broker.ends[partition]:
            raise StopProcessing(f"p{partition} no longer holds {offset}")


class SimRestore:
    """Implements `ports.Restore`: committed records, up to the high watermark of its beginning."""

    def __init__(
        self, machine: Machine, broker: Broker, partition: int, checkpoint: int | None
    ) -> None:
        self._machine, self._broker, self._partition = machine, broker, partition
        self._log = broker.statuses[partition]
        self._at = checkpoint or 0
        self.end = self._mark()

    def _mark(self) -> int:
        return self._log.end

    def _visible(self, txn: Txn) -> bool:
        return txn.fate is Fate.COMMITTED

    def _limit(self) -> int:
        return min(self._log.stable_end(), self.end)

    def step(self, max_records: int, timeout_s: float) -> Restored:
        self._machine.point("restore")
        if away(self._broker, self._machine):
            raise Unavailable("broker", 0.3)
        if self._at > self.end:
            raise StoreFailed(f"the store of p{self._partition} is ahead of the status topic")
        limit = self._limit()
        most = min(RESTORE_STEP, max_records)
        found = self._log.between(self._at, limit, most)
        self._at = found[-1].offset + 1 if len(found) == most else max(limit, self._at)
        seen = [entry for entry in found if self._visible(entry.txn)]
        changes: list[tuple[str, MessageState | None]] = [(e.key, e.state) for e in seen]
        mark = next((entry.mark for entry in reversed(seen) if entry.mark), "")
        return Restored(changes, self._at, self.end, self._at >= self.end, mark)

    def close(self) -> None:
        pass


class SimOutbox:
    """Implements `ports.Outbox`."""

    restore_type: type[SimRestore] = SimRestore

    def __init__(self, machine: Machine, broker: Broker, source: SimSource) -> None:
        self._machine, self._broker, self._source = machine, broker, source
        self._world, self._weather = machine.world, machine.world.weather
        self.store: Store | None = None  # only for a faulty outbox
        self._producers = 0
        self._producer, self._epoch = "", 0
        self._connect()

    def commit(self, transaction: Transaction) -> Committed | Aborted | Fenced:
        self._machine.point("before commit")
        if away(self._broker, self._machine):
            return self._without_an_answer()
        if transaction == Transaction():
            return Committed({})
        who = self._source.identity()
        if who is None:
            return Aborted("no member")
        txn = self._broker.begin(self._machine.name, self._producer, self._epoch)
        if txn is None:
            return self._fenced("a newer producer")
        checkpoints = self._write(txn, transaction)
        self._machine.point("statuses written")
        self._dead_letters(txn, transaction)
        positions = self._places(transaction)
        refusal = self._add_offsets(txn, positions, who)
        if refusal:
            self._broker.abort(txn)
            return Aborted(refusal)
        self._machine.point("offsets added")
        return self._decide(txn, checkpoints)

    def hurry(self, within_s: float) -> None:
        pass

    def renew(self) -> None:
        self._machine.point("renew")
        if away(self._broker, self._machine):
            raise Unavailable("broker", 0.5)
        self._connect()

    def restore(self, partition: int, checkpoint: int | None) -> SimRestore:
        if away(self._broker, self._machine):
            raise Unavailable("broker", 0.3)
        if not self._source.is_stable(partition):
            raise RuntimeError(f"p{partition} is restored before its stable offset came")
        return self.restore_type(self._machine, self._broker, partition, checkpoint)

    def close(self) -> None:
        pass

    # -- details -----------------------------------------------------------------------------

    def _connect(self) -> None:
        self._producers += 1
        stable = self._weather.stable_ids
        name = self._machine.host if stable else f"{self._machine.name}/{self._producers}"
        self._producer, self._epoch = name, self._broker.register(name)

    def _decide(self, txn: Txn, checkpoints: dict[int, int]) -> Committed | Aborted | Fenced:
        if self._world.chance(self._weather.abort):
            self._broker.abort(txn)
            return Aborted("told to abort")
        if self._world.chance(self._weather.unknown_commit):
            if self._world.rng.random() < 0.5:
                self._broker.commit(txn)
            return self._fenced("no answer to the commit")
        if not self._broker.commit(txn):
            return self._fenced("the transaction's own timeout")
        self._machine.point("committed")
        return Committed(checkpoints)

    def _write(self, txn: Txn, transaction: Transaction) -> dict[int, int]:
        """Only the last record of a partition has the mark."""
        checkpoints = {}
        for partition, gone in transaction.tombstones.items():
            last = None if transaction.statuses.get(partition) else gone[-1:]
            for message_id in gone:
                if txn.fate is Fate.OPEN:
                    mark = transaction.marks[partition] if [message_id] == last else ""
                    at = self._broker.write(txn, partition, message_id, None, mark)
                    checkpoints[partition] = at + 1
        self._machine.point("some written")
        for partition, states in transaction.statuses.items():
            for number, state in enumerate(states, start=1):
                if txn.fate is Fate.OPEN:
                    mark = transaction.marks[partition] if number == len(states) else ""
                    at = self._broker.write(txn, partition, state.message_id, state, mark)
                    checkpoints[partition] = at + 1
        return checkpoints

    def _places(self, transaction: Transaction) -> dict[int, CommittedOffset]:
        """A partition of which nothing was read yet stands at its beginning."""
        return {
            partition: CommittedOffset(
                position.offset if position.offset >= 0 else self._broker.begins[partition],
                transaction.marks[partition],
            )
            for partition, position in transaction.positions.items()
        }

    def _dead_letters(self, txn: Txn, transaction: Transaction) -> None:
        if transaction.dead_letters and self._world.chance(self._weather.dead_letter_fails):
            self._broker.abort(txn)
            raise StopProcessing("a dead letter can't be written")
        txn.letters += transaction.dead_letters

    def _add_offsets(
        self, txn: Txn, positions: dict[int, CommittedOffset], who: Identity | None
    ) -> str:
        if txn.fate is not Fate.OPEN:
            return ""  # the commit will tell
        return self._broker.add_offsets(txn, positions, who) if positions else ""

    def _without_an_answer(self) -> Aborted | Fenced:
        if self._broker.is_down():
            return Aborted("broker unavailable")
        self._machine.wait(self._world.rng.uniform(0.5, SESSION_S), lambda: False)
        if self._world.rng.random() < 0.3:
            return Aborted("no answer, and nothing was sent")
        return self._fenced("no answer")

    def _fenced(self, why: str) -> Fenced:
        self._machine.fenced = True
        return Fenced(why)


def _span(records: list[SimRecord]) -> list[str]:
    places: dict[int, list[int]] = {}
    for record in records:
        places.setdefault(record.number, []).append(record.place)
    return [f"p{p}:{at[0]}-{at[-1]}" for p, at in places.items()]

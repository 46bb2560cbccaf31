"""The log as it is: records of open, committed and aborted transactions side by side, and what
each kind of reader sees of them.

A transaction is decided at once, but its markers may come late; until then its records hide
everything behind them from a committed reader, and its offsets are not stable. A producer is
fenced by its epoch only. Offsets are checked against the group's members; a transaction without
offsets is checked against nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

from processor.core.events import DeliveryEvent, MessageState
from processor.errors import Rejection
from processor.ports import CommittedOffset, DeadLetter
from tests.simulation.group import Group, Identity
from tests.simulation.weather import DELETE_RETENTION_S
from tests.simulation.world import START_MS, World


class SimRecord:
    """A record of the events topic, decoded already: what it means, or why it is poison."""

    __slots__ = ("at", "meaning", "number", "place")

    def __init__(self, meaning: DeliveryEvent | Rejection, partition: int, at_ms: int) -> None:
        self.meaning = meaning
        self.number = partition
        self.place = -1
        self.at = at_ms

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return self.number

    def offset(self) -> int | None:
        return self.place

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at


class Fate(Enum):
    """Of a transaction. COMMITTING and ABORTING: decided, the markers are still to come."""

    OPEN = auto()
    COMMITTING = auto()
    COMMITTED = auto()
    ABORTING = auto()
    ABORTED = auto()


@dataclass(slots=True, eq=False)
class Txn:
    """A transaction as its coordinator and the partitions know it."""

    who: str
    producer: str
    epoch: int
    began: float
    fate: Fate = Fate.OPEN
    statuses: list[tuple[int, str, MessageState | None]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    offsets: dict[int, CommittedOffset] = field(default_factory=dict)
    fenced_for: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Entry:
    """A record of the status topic. `state` None: a tombstone."""

    offset: int
    key: str
    state: MessageState | None
    txn: Txn
    at: float
    mark: str


class StatusLog:
    """One partition of the status topic. `end` is the high watermark; markers take offsets, too."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.end = 0
        self._first_of: dict[Txn, int] = {}

    def append(
        self, key: str, state: MessageState | None, txn: Txn, at: float, mark: str = ""
    ) -> int:
        offset = self.end
        self.entries.append(Entry(offset, key, state, txn, at, mark))
        self._first_of.setdefault(txn, offset)
        self.end += 1
        return offset

    def mark(self, txn: Txn) -> None:
        """The transaction's marker is written."""
        if self._first_of.pop(txn, None) is not None:
            self.end += 1

    def stable_end(self) -> int:
        """The last stable offset."""
        return min(self._first_of.values(), default=self.end)

    def between(self, offset: int, end: int, limit: int) -> list[Entry]:
        """Entries of [offset, end), whatever became of their transactions."""
        first = bisect_left(self.entries, offset, key=lambda entry: entry.offset)
        return [e for e in self.entries[first : first + limit] if e.offset < end]

    def compact(self, now: float) -> None:
        """Below the last stable offset: the last committed record of each key, fresh tombstones.

        The very last record stays: it lies in the active segment, which Kafka never compacts, and
        a newer segment only begins with a newer record.
        """
        stable = self.stable_end()
        last = {
            e.key: e for e in self.entries if e.offset < stable and e.txn.fate is Fate.COMMITTED
        }
        newest = max(last.values(), key=lambda e: e.offset, default=None)
        self.entries = [
            e
            for e in self.entries
            if e.offset >= stable
            or e is newest
            or (last.get(e.key) is e and (e.state is not None or now - e.at < DELETE_RETENTION_S))
        ]


class Observer(Protocol):
    """Is told when a transaction is decided."""

    def committed(self, txn: Txn) -> None: ...
    def set_back(self, partition: int, offset: int) -> None: ...


class Broker:
    """The events topic, the status topic, the dead letters, offsets and transactions."""

    def __init__(self, world: World, observer: Observer) -> None:
        partitions = world.weather.partitions
        self._world = world
        self._observer = observer
        self.down_until = 0.0
        self.events: list[list[SimRecord]] = [[] for _ in range(partitions)]
        self.begins = [0] * partitions
        self.ends = [0] * partitions
        self.statuses = [StatusLog() for _ in range(partitions)]
        self.offsets: dict[int, CommittedOffset] = {}
        self.group = Group(world, partitions)
        self._undecided: list[Txn] = []
        self._epochs: dict[str, int] = {}

    def is_down(self) -> bool:
        return self._world.now < self.down_until

    def produce(self, meaning: DeliveryEvent | Rejection, partition: int) -> None:
        """An event comes in. Offsets have holes where others' transaction markers are."""
        world = self._world
        record = SimRecord(meaning, partition, world.wall_ms())
        self.ends[partition] += world.rng.random() < 0.1
        record.place = self.ends[partition]
        self.ends[partition] += 1
        self.events[partition].append(record)

    def read(self, partition: int, offset: int, limit: int) -> list[SimRecord]:
        records = self.events[partition]
        first = bisect_left(records, offset, key=lambda record: record.place)
        return records[first : first + limit]

    def next_offset(self, partition: int, offset: int) -> int:
        """Where a reader stands that has read all there is: holes at the end are not passed."""
        records = self.events[partition]
        return records[-1].place + 1 if records and records[-1].place >= offset else offset

    def left(self, partition: int, offset: int) -> int:
        """How many records there are from the offset on."""
        records = self.events[partition]
        return len(records) - bisect_left(records, offset, key=lambda record: record.place)

    def delete_before(self, partition: int, offset: int) -> None:
        """What lies before the offset has been kept long enough."""
        self.begins[partition] = offset
        self.events[partition] = [r for r in self.events[partition] if r.place >= offset]

    # -- transactions ------------------------------------------------------------------------

    def register(self, producer: str) -> int:
        """A producer's epoch. What an older one of its name has open is aborted."""
        epoch = self._epochs.get(producer, -1) + 1
        self._epochs[producer] = epoch
        for txn in list(self._undecided):
            if txn.producer == producer:
                self._finish(txn) if txn.fate is not Fate.OPEN else self.abort(txn)
        return epoch

    def begin(self, who: str, producer: str, epoch: int) -> Txn | None:
        """None: a newer producer has the name, or the last transaction's timeout has passed."""
        if self._epochs[producer] != epoch:
            return None
        for txn in list(self._undecided):
            if txn.producer == producer:
                self._finish(txn)  # the next transaction waits for the last one's markers
        txn = Txn(who, producer, epoch, self._world.now)
        self._undecided.append(txn)
        self._world.after(self._world.weather.transaction_timeout_s, lambda: self._time_out(txn))
        return txn

    def write(
        self, txn: Txn, partition: int, key: str, state: MessageState | None, mark: str
    ) -> int:
        if state is not None:
            state = replace(state, history=dict(state.history), due_at=0, doubt_at=0)
        txn.statuses.append((partition, key, state))
        return self.statuses[partition].append(key, state, txn, self._world.now, mark)

    def rewrite(self, partition: int) -> None:
        """Somebody copies an old status record to the end of the partition, as tools do."""
        entries = self.statuses[partition].entries
        old = [e for e in entries if e.state is not None and e.txn.fate is Fate.COMMITTED]
        if old:
            entry = self._world.rng.choice(old)
            self._world.note("status", f"p{partition}", entry.key, "an old record again")
            stranger = Txn("a tool", "a tool", 0, self._world.now, Fate.COMMITTED)
            log = self.statuses[partition]
            log.append(entry.key, entry.state, stranger, self._world.now)
            log.mark(stranger)

    def reset_offset(self, partition: int) -> bool:
        """An operator sets the group's offset back, with a tool. Refused while it has members."""
        committed = self.offsets.get(partition)
        if self.group.members() or committed is None or self.stable_offset(partition) is None:
            return False
        offset = self._world.rng.randint(0, max(committed.offset, 0))
        self._world.note("operator", f"sets p{partition} back to", offset)
        self._observer.set_back(partition, offset)
        self.offsets[partition] = CommittedOffset(offset)
        return True

    def add_offsets(
        self, txn: Txn, positions: dict[int, CommittedOffset], who: Identity | None
    ) -> str:
        """Why not; "" if accepted. Where no member is named, nobody is checked."""
        refusal = self.group.check(who) if who is not None else ""
        if not refusal:
            txn.offsets.update(positions)
            if who is not None:
                txn.fenced_for.update(positions)
        return refusal

    def commit(self, txn: Txn) -> bool:
        if txn.fate is not Fate.OPEN:
            return False
        txn.fate = Fate.COMMITTING
        self._world.note("broker", "commits", txn.who, txn.offsets, _brief(txn))
        self._observer.committed(txn)
        self._markers_later(txn)
        return True

    def abort(self, txn: Txn) -> None:
        if txn.fate is Fate.OPEN:
            txn.fate = Fate.ABORTING
            self._world.note("broker", "aborts", txn.who, txn.offsets)
            self._markers_later(txn)

    def stable_offset(self, partition: int) -> CommittedOffset | None:
        """None while a transaction that holds an offset of the partition is undecided."""
        if any(partition in txn.offsets for txn in self._undecided):
            return None
        return self.offsets.get(partition, CommittedOffset(-1))

    def compact(self) -> None:
        for log in self.statuses:
            log.compact(self._world.now)

    def _time_out(self, txn: Txn) -> None:
        if txn.fate is Fate.OPEN:
            self._world.note("broker", "times out", txn.who)
            self._epochs[txn.producer] = txn.epoch + 1
            self.abort(txn)

    def _markers_later(self, txn: Txn) -> None:
        late = self._world.chance(self._world.weather.late_markers)
        delay = self._world.rng.uniform(0.5, 6.0) if late else 0.01
        self._world.after(delay, lambda: self._finish(txn))

    def _finish(self, txn: Txn) -> None:
        """The markers are written."""
        if txn.fate in {Fate.COMMITTED, Fate.ABORTED}:
            return
        self._undecided.remove(txn)
        for log in self.statuses:
            log.mark(txn)
        if txn.fate is Fate.COMMITTING:
            txn.fate = Fate.COMMITTED
            self.offsets.update(txn.offsets)
        else:
            txn.fate = Fate.ABORTED


def _brief(txn: Txn) -> str:
    parts = [
        f"{key}:{'gone' if s is None else f'{s.code}v{s.version}s{s.settled_version}'}"
        for _, key, s in txn.statuses
    ]
    return " ".join(parts) + f" letters={len(txn.letters)}" * bool(txn.letters)


def stamp(seconds: float) -> int:
    """Simulated seconds -> milliseconds since 1970."""
    return START_MS + round(seconds * 1000)

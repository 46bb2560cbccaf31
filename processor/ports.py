"""What the worker needs from the outside, and nothing more. Every edge implements one of these,
and so do the simulation's fakes: `tests/contracts` holds both to what is said here.

Partitions are the numbers of the events topic's partitions, which the status topic mirrors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from processor.core.events import Change, DeliveryEvent, MessageState
from processor.core.report.fields import Oddities
from processor.core.settle import Verdict
from processor.errors import Rejection


class Clock(Protocol):
    """Time as an argument."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC. Within a process it never jumps: notes of when a row is
        due, and since when it is in doubt, are kept by it.
        """

    def monotonic_s(self) -> float:
        """Seconds that never go back and also pass while the machine or process is stopped."""


class RawRecord(Protocol):
    """A record as it lies in Kafka. `confluent_kafka.Message` is one."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Decoder(Protocol):
    """Raw bytes -> events."""

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        """One item per record, in order. Raises Unavailable when the registry does not answer."""

    def take_oddities(self) -> Oddities:
        """What was odd about the records that were decoded since this was asked last."""


# -- Kafka: the input ------------------------------------------------------------------------


class Position(NamedTuple):
    """How far a partition has been read: the next offset, and the stream time there (ms)."""

    offset: int
    stream_time: int


class CommittedOffset(NamedTuple):
    """What the group has committed: the next offset (-1: nothing), and the text beside it."""

    offset: int
    metadata: str = ""


class RebalanceListener(Protocol):
    """Called from inside `Source.poll`. Only `revoked` may block, until the revoke deadline."""

    def assigned(self, partitions: Collection[int]) -> None: ...
    def revoked(self, partitions: Collection[int]) -> None: ...
    def lost(self, partitions: Collection[int]) -> None: ...


class Source(Protocol):
    """The events topic, read by a group. An assigned partition delivers nothing until `start`."""

    def subscribe(self, listener: RebalanceListener) -> None: ...

    def poll(self, max_records: int, timeout_s: float) -> Mapping[int, Sequence[RawRecord]]:
        """The next records of the started partitions, at most `max_records` in all; by partition,
        in order, each once, and no partition without any. Runs the listener's callbacks. Raises
        StopProcessing when records were lost (offset out of range), Unavailable never: an
        unreachable broker yields none.
        """

    def committed(self, partition: int, timeout_s: float) -> CommittedOffset | None:
        """The *stable* committed offset: waits for open transactions that hold offsets of the
        partition. None: no stable answer within the time, ask again.
        """

    def start(self, partition: int, offset: int) -> None:
        """Deliver this partition from the offset on (-1: from its beginning), though it was paused.
        Also after an aborted transaction, to read the same records again. One that is not ours is
        left alone.
        """

    def pause(self, partitions: Collection[int]) -> None: ...
    def resume(self, partitions: Collection[int]) -> None: ...

    def joined(self) -> bool:
        """Whether the group has given an assignment, maybe an empty one, and the topics exist."""

    def silent_s(self) -> float:
        """For how long Kafka has not answered; infinite: it never has, or it is not asked."""

    def at_end(self, partition: int) -> bool:
        """Whether everything that a read-committed reader can see has been delivered."""

    def lag(self) -> Mapping[int, int]:
        """Records not yet delivered, by partition. 0 when only transaction markers are left. One
        of which Kafka has not told the end lately is left out: nobody knows.
        """

    def rejoin(self) -> None:
        """Leave the group and join it anew. Every partition counts as lost, without a callback."""

    def close(self) -> None:
        """Leave the group. Calls `revoked` for what is still assigned."""


# -- Kafka: the outbox -----------------------------------------------------------------------


class DeadLetter(NamedTuple):
    """A record that can't be used, or a row that Salesforce refused for good.

    `record` (raw) or `state` (of `partition`) is set. `stage`: decode, collapse or salesforce.
    """

    stage: str
    reason: str
    detail: str
    partition: int
    record: RawRecord | None = None
    state: MessageState | None = None


@dataclass(slots=True)
class Transaction:
    """What one Kafka transaction carries. `positions` names every partition it writes for.

    `marks` (`core/mark.py`) are written beside the offset, and with the partition's last record.
    """

    positions: dict[int, Position] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)
    statuses: dict[int, list[MessageState]] = field(default_factory=dict)
    tombstones: dict[int, list[str]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class Committed(NamedTuple):
    """Committed. For each partition with statuses or tombstones: the status topic's offset from
    which a restore must read to see what came after (the last written offset + 1).
    """

    checkpoints: dict[int, int]


class Aborted(NamedTuple):
    """Nothing of it is visible. Run the same records again. `moving`: the group is just moving
    partitions between its members, which is no fault.
    """

    why: str
    moving: bool = False


class Fenced(NamedTuple):
    """The outcome is unknown or the producer is dead: all partitions count as lost."""

    why: str


class Restored(NamedTuple):
    """A step of a restore: states to keep and message ids to drop, in log order, up to `offset`.

    `mark`: the last that was among them; "": none was.
    """

    changes: list[tuple[str, MessageState | None]]
    offset: int
    end: int
    done: bool
    mark: str = ""


class Restore(Protocol):
    """Reads one status partition up to the mark that was its high watermark when it began."""

    def step(self, max_records: int, timeout_s: float) -> Restored:
        """Raises StoreFailed when the log does not hold the checkpoint."""

    def close(self) -> None: ...


class Outbox(Protocol):
    """The status topic and the dead-letter topic, written in transactions with the offsets."""

    def commit(self, transaction: Transaction) -> Committed | Aborted | Fenced:
        """Raises StopProcessing when a dead letter can't be written at all."""

    def renew(self) -> None:
        """A new producer, after Fenced. Raises Unavailable when the broker does not answer, or
        while it is too early after having been fenced again and again.
        """

    def hurry(self, within_s: float) -> None:
        """We are leaving: from now on all calls together take about so long."""

    def restore(self, partition: int, checkpoint: int | None) -> Restore:
        """Begin to read the status partition (after `Source.committed` has answered)."""

    def close(self) -> None: ...


# -- the local store -------------------------------------------------------------------------


Loaded = Sequence[tuple[str, MessageState | None]]
"""States by message id in the order of the log; None: the message is dropped."""


class OwedCount(NamedTuple):
    """Rows that Salesforce has yet to confirm. `in_doubt`: how many of them it may have been sent,
    without an answer, so that they are settled only after they were read back.
    """

    final: int
    intermediate: int
    in_doubt: int = 0

    @property
    def total(self) -> int:
        return self.final + self.intermediate


class Store(Protocol):
    """A cache of the status topic, one environment per partition. May be wiped at any time.

    Any failure of `put_many` or `load` raises StoreFailed: the caller wipes and restores.
    """

    def open(self, partition: int) -> int | None:
        """The checkpoint (next status-topic offset to read); None: empty, restore all."""

    def mark(self, partition: int) -> str:
        """The mark that was kept with the checkpoint; "": none was."""

    def load(
        self,
        partition: int,
        changes: Loaded,
        checkpoint: int,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        """Restore: join with what is there (`core/join.py`), or drop. `mark` "": as it was."""

    def unfit(self, message_id: str, state: MessageState | None) -> str | None:
        """Why no `load` can ever take this (`bad_key`, `too_large`); None: it fits."""

    def get_many(self, partition: int, ids: Collection[str]) -> dict[str, MessageState]: ...

    def put_many(
        self,
        partition: int,
        changes: Iterable[Change],
        checkpoint: int | None = None,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        """Each message with its indexes at once, the checkpoint at last. Where the process or the
        disk ends a large write in its middle, the store is ahead of its checkpoint, and joins what
        it reads again. `checkpoint` None leaves it as it is, and the mark with it.

        `as_of_ms`: when the checkpoint was surely not older than what the topic's compaction
        leaves (None: now). A process that was stopped for days in between must not date it later.
        """

    def due(
        self, org: str, now_ms: int, limit: int, partitions: Collection[int] | None = None
    ) -> list[tuple[int, MessageState]]:
        """Owed rows with due_at <= now: final ones first, then by due_at; no partition can starve
        another. Of these partitions (None: of all that are open; but one that is still being
        restored holds stale states).
        """

    def next_due(self, org: str, partitions: Collection[int] | None = None) -> int | None:
        """The earliest due_at of all owed rows that are not in flight; None: nothing is waiting."""

    def owed_rows(self, partition: int) -> Iterator[MessageState]:
        """Every owed row of a partition, in flight or not (a consistent snapshot)."""

    def owed_count(self, partition: int | None = None) -> OwedCount:
        """Of one partition, or (None) of all that are open."""

    def expired(self, partition: int, before_ms: int, limit: int) -> list[MessageState]:
        """States that are not owed and whose last event is older than `before_ms`."""

    def count(self) -> int:
        """States kept, over all open partitions."""

    def close(self, partition: int) -> None: ...

    def wipe(self, partition: int) -> None:
        """Close, and remove the partition's files."""


# -- Salesforce ------------------------------------------------------------------------------


class Owed(NamedTuple):
    """A row to be written. `verify`: don't write; read the Task back and compare. `again`: this
    version of it was tried and failed, for a reason that may do harm to other rows of its request.
    """

    message_id: str
    partition: int
    version: int
    org: str
    task_id: str
    values: dict[str, object]
    verify: bool = False
    again: bool = False


class Result(NamedTuple):
    """What became of one submitted row."""

    message_id: str
    partition: int
    version: int
    verdict: Verdict


class Writer(Protocol):
    """Writes rows to Salesforce on a few threads. Every row gives one result, unless dropped.

    Of one Task one request is in flight at a time, in the order of submission; the last of the rows
    that wait may be written for all of them, which it would overwrite. While the org is paused no
    row is held: each comes back (Retry), so that newer versions can take its place.
    """

    def room(self, org: str) -> int:
        """How many rows may be submitted now. 0 while the org is paused."""

    def submit(self, rows: Sequence[Owed]) -> None:
        """Take rows in; sends full requests at once, others after a short linger. Never blocks."""

    def results(self) -> list[Result]: ...

    def wait(self, timeout_s: float) -> None:
        """Return when a result is there, or after the time."""

    def quiesce(self, partitions: Collection[int], deadline_s: float) -> None:
        """Send nothing more for these partitions, give back (Retry) what was not sent, and wait
        for what is in flight, at most so long; then `results` has what came.
        """

    def drop(self, partitions: Collection[int]) -> None:
        """Forget these partitions: no more requests, no results (partitions lost)."""

    def ready(self) -> bool:
        """Logged in, and the org is not paused."""

    def close(self, deadline_s: float) -> None:
        """Give back what was not sent, and wait for what is in flight, at most so long."""


class Lease(Protocol):
    """Asked by the writer before each request, from its threads."""

    def holds(self, partitions: Collection[int]) -> bool:
        """Whether these partitions are surely still ours (I6)."""


# -- metrics ---------------------------------------------------------------------------------


class Meter(Protocol):
    """What the worker tells of itself, once per cycle or per transaction, never per event."""

    def events(self, counts: Mapping[tuple[int, str], int]) -> None:
        """Events by (code, outcome): advanced, duplicate, superseded, ignored, too_late."""

    def rejected(self, stage: str, reason: str, count: int) -> None: ...
    def anomalies(self, kind: str, count: int) -> None:
        """What is odd: conflict, hidden_progress, same_stamp, ahead_of_clock."""

    def oddities(self, found: Oddities) -> None:
        """What was odd about the events of a committed batch."""

    def batch(self, size: int) -> None: ...
    def transaction(self, seconds: float, outcome: str) -> None: ...
    def statuses(self, count: int) -> None: ...
    def restored(self, seconds: float, messages: int) -> None: ...
    def unusable(self, reason: str, count: int) -> None: ...
    def settled(self, outcome: str, seconds_since_event: Sequence[float]) -> None: ...
    def expired(self, count: int) -> None: ...
    def gauges(self, owed: OwedCount, states: int, lag: Mapping[int, int]) -> None: ...
    def blocked(self, partitions: int) -> None:
        """How many assigned partitions wait because the machine does not let their store work."""

    def slowed(self, partitions: int) -> None:
        """How many partitions are read slowly, because most of their events can't be decoded."""

    def org_ready(self, ready: bool) -> None:
        """Whether the org takes rows: logged in, and not paused."""

    def kafka_answered(self, at_s: float) -> None:
        """When Kafka answered last, in seconds since 1970."""

    def put_off(self) -> None:
        """A batch is read again later: a schema could not be looked up."""

"""The rows that the writer holds: a line per Task, of which one is in flight at a time (I4).

Where several messages name one Task the last write stands: of the writes at the beginning of a line
the last one is sent, and its answer is the answer for those before it (`speaks_for_the_task`). So a
Task that thousands of messages name takes no more requests than any other.

Rows that failed before go among themselves: code of the org that fails for one row may fail its
whole request.

Not thread-safe: the writer calls it under its lock. Tasks are compared by their 18-character Ids.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from processor.core.settle import Verdict
from processor.ports import Owed
from processor.salesforce.collections import MAX_ROWS_PER_REQUEST
from processor.salesforce.verdicts import speaks_for_the_task


class Kind(Enum):
    """What goes together in one request."""

    WRITE = auto()
    AGAIN = auto()  # to be written, and it has failed before
    VERIFY = auto()  # to be read back


def kind_of(owed: Owed) -> Kind:
    """Which requests a row goes in."""
    return Kind.VERIFY if owed.verify else Kind.AGAIN if owed.again else Kind.WRITE


@dataclass(slots=True, eq=False)
class Entry:
    """A row that is held. `dropped`: its partition was lost, so nobody waits for its result."""

    owed: Owed
    task_id: str
    since_s: float
    dropped: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """Rows of different Tasks that go together, all to be written or all to be read back.

    `rows_per_part`: how many of them go into one Collections request. `ticket`: of the gate.
    `recalled`: a partition of it was taken away meanwhile, so nothing more may be sent.
    """

    entries: list[Entry]
    kind: Kind
    rows_per_part: int
    ticket: int
    recalled: bool = False

    @property
    def verify(self) -> bool:
        """Whether it reads and does not write."""
        return self.kind is Kind.VERIFY


class RowQueue:
    """Rows in the order in which they came; of one Task, one at a time."""

    def __init__(self) -> None:
        # Lists, though rows leave at the front: nearly every line has one row.
        self._lines: dict[str, list[Entry]] = {}
        self._ready: dict[Kind, deque[Entry]] = {kind: deque() for kind in Kind}
        self._halves: list[tuple[list[Entry], Kind]] = []
        self._in_flight: list[Batch] = []
        self._held = 0

    def __len__(self) -> int:
        """Rows without a result."""
        return self._held

    def add(self, owed: Owed, task_id: str, now_s: float) -> None:
        entry = Entry(owed, task_id, now_s)
        self._held += 1
        line = self._lines.get(task_id)
        if line is None:
            self._lines[task_id] = [entry]
            self._ready[kind_of(owed)].append(entry)
        else:
            line.append(entry)

    def ready(self, kind: Kind) -> int:
        """Tasks that could be written, or read back, now."""
        return len(self._ready[kind])

    def ready_since_s(self, kind: Kind) -> float:
        """Since when the first of them could. Infinity: there is none."""
        queue = self._ready[kind]
        return queue[0].since_s if queue else float("inf")

    def has_halves(self) -> bool:
        """Whether a request was refused as a whole, and its halves wait to be sent."""
        return bool(self._halves)

    def take(self, limit: int, rows_per_part: int, ticket: int, kind: Kind) -> Batch:
        """The next rows, no two of one Task. They are in flight until `finish`."""
        queue = self._ready[kind]
        heads = [queue.popleft() for _ in range(min(limit, len(queue)))]
        entries = heads if kind is Kind.VERIFY else [self._last_write(head) for head in heads]
        return self._sent(Batch(entries, kind, rows_per_part, ticket))

    def take_half(self, ticket: int) -> Batch:
        """One of the halves, as one plain request: the last one made, so that a single row is
        reached after few requests even where all of them fail.
        """
        entries, kind = self._halves.pop()
        return self._sent(Batch(entries, kind, MAX_ROWS_PER_REQUEST, ticket))

    def finish(
        self, batch: Batch, verdicts: Mapping[Entry, Verdict], now_s: float
    ) -> list[tuple[Entry, Verdict]]:
        """The batch is back: these rows have a verdict, the others go again in halves, each small
        enough for one request. Returns the verdicts that somebody waits for, also those of rows
        that another one spoke for.
        """
        self._in_flight.remove(batch)
        told: list[tuple[Entry, Verdict]] = []
        rest: list[Entry] = []
        for entry in batch.entries:
            verdict = verdicts.get(entry)
            if verdict is None:
                rest.append(entry)
                continue
            told += [(gone, verdict) for gone in self._leave(entry, verdict, now_s)]
        size = min((len(rest) + 1) // 2, MAX_ROWS_PER_REQUEST)
        starts = range(0, len(rest), size or 1)
        self._halves.extend((rest[start : start + size], batch.kind) for start in starts)
        return told

    def withdraw(self, now_s: float, partitions: Collection[int] | None = None) -> list[Owed]:
        """Take back what is not in flight, of these partitions or (None) of all."""
        flying = {entry for batch in self._in_flight for entry in batch.entries}
        gone: list[Owed] = []
        for task_id, line in list(self._lines.items()):
            kept: list[Entry] = []
            for entry in line:
                is_meant = partitions is None or entry.owed.partition in partitions
                if is_meant and entry not in flying:
                    gone.append(entry.owed)
                else:
                    kept.append(entry)
            self._held -= len(line) - len(kept)
            if kept:
                self._lines[task_id] = kept
            else:
                del self._lines[task_id]
        self._rebuild({entry.task_id for entry in flying}, now_s)
        return gone

    def recall(self, partitions: Collection[int] | None = None, *, drop: bool = False) -> None:
        """Let no request in flight for these partitions be sent again; with `drop`, forget the
        results. The Tasks stay busy: what a server has in flight must not be overtaken.
        """
        for batch in self._in_flight:
            for entry in batch.entries:
                if partitions is None or entry.owed.partition in partitions:
                    batch.recalled = True
                    entry.dropped = entry.dropped or drop

    def flying(self, partitions: Collection[int] | None = None) -> int:
        """Rows in flight, of these partitions or (None) of all."""
        return sum(
            partitions is None or entry.owed.partition in partitions
            for batch in self._in_flight
            for entry in batch.entries
        )

    def _sent(self, batch: Batch) -> Batch:
        self._in_flight.append(batch)
        return batch

    def _last_write(self, head: Entry) -> Entry:
        """The last of the writes that the head's line begins with."""
        last = head
        for entry in self._lines[head.task_id]:
            if entry.owed.verify:
                break
            last = entry
        return last

    def _leave(self, entry: Entry, verdict: Verdict, now_s: float) -> list[Entry]:
        """The row has its verdict, and maybe those before it. Whoever waits for it."""
        line = self._lines[entry.task_id]
        place = line.index(entry)
        first = 0 if speaks_for_the_task(verdict) else place
        gone = line[first : place + 1]
        del line[first : place + 1]
        self._held -= len(gone)
        if line:
            self._get_ready(line[0], now_s)
        else:
            del self._lines[entry.task_id]
        return [each for each in gone if not each.dropped]

    def _get_ready(self, entry: Entry, now_s: float) -> None:
        entry.since_s = now_s
        self._ready[kind_of(entry.owed)].append(entry)

    def _rebuild(self, busy: Collection[str], now_s: float) -> None:
        """After rows were taken out of the lines: whose Task is neither ready nor busy?"""
        held = {entry for line in self._lines.values() for entry in line}
        halves = [([entry for entry in half if entry in held], kind) for half, kind in self._halves]
        self._halves = [half for half in halves if half[0]]
        placed = {entry.task_id for half, _ in self._halves for entry in half} | set(busy)
        for kind, queue in self._ready.items():
            self._ready[kind] = deque(entry for entry in queue if entry in held)
            placed.update(entry.task_id for entry in self._ready[kind])
        for task_id, line in self._lines.items():
            if task_id not in placed:
                self._get_ready(line[0], now_s)


def count_by_name(verdicts: Iterable[object]) -> Counter[str]:
    """How many of each kind of verdict, for metrics."""
    kinds = Counter(map(type, verdicts))
    return Counter({kind.__name__.lower(): count for kind, count in kinds.items()})

"""The rows that the writer holds: a line per Task, of which only the head is ever sent (I4).

Not thread-safe: the writer calls it under its lock. Tasks are compared by their 18-character Ids.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass

from processor.ports import Owed
from processor.salesforce.collections import MAX_ROWS_PER_REQUEST


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
    verify: bool
    rows_per_part: int
    ticket: int
    recalled: bool = False


class RowQueue:
    """Rows in the order in which they came; of one Task, one at a time."""

    def __init__(self) -> None:
        # Lists, though a line is left at its head: nearly every line has one row.
        self._lines: dict[str, list[Entry]] = {}
        self._ready: dict[bool, deque[Entry]] = {False: deque(), True: deque()}
        self._halves: list[list[Entry]] = []
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
            self._ready[owed.verify].append(entry)
        else:
            line.append(entry)

    def ready(self, *, verify: bool) -> int:
        """Rows that could be sent now."""
        return len(self._ready[verify])

    def ready_since_s(self, *, verify: bool) -> float:
        """Since when the first of them could. Infinity: there is none."""
        queue = self._ready[verify]
        return queue[0].since_s if queue else float("inf")

    def has_halves(self) -> bool:
        """Whether a request was refused as a whole, and its halves wait to be sent."""
        return bool(self._halves)

    def take(self, limit: int, rows_per_part: int, ticket: int, *, verify: bool) -> Batch:
        """The next rows, no two of one Task. They are in flight until `finish`."""
        queue = self._ready[verify]
        entries = [queue.popleft() for _ in range(min(limit, len(queue)))]
        return self._sent(Batch(entries, verify, rows_per_part, ticket))

    def take_half(self, ticket: int) -> Batch:
        """One of the halves, as one plain request: the last one made, so that a single row is
        reached after few requests even where all of them fail.
        """
        return self._sent(Batch(self._halves.pop(), False, MAX_ROWS_PER_REQUEST, ticket))

    def finish(self, batch: Batch, done: Container[Entry], now_s: float) -> list[Entry]:
        """The batch is back: these rows have a result, the others go again in halves, each small
        enough for one request. Returns the rows of `done` whose result somebody waits for.
        """
        self._in_flight.remove(batch)
        told: list[Entry] = []
        rest: list[Entry] = []
        for entry in batch.entries:
            if entry not in done:
                rest.append(entry)
                continue
            self._leave(entry, now_s)
            if not entry.dropped:
                told.append(entry)
        size = min((len(rest) + 1) // 2, MAX_ROWS_PER_REQUEST)
        self._halves.extend(rest[start : start + size] for start in range(0, len(rest), size or 1))
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
        self._rebuild(flying, now_s)
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

    def _leave(self, entry: Entry, now_s: float) -> None:
        line = self._lines[entry.task_id]
        assert line[0] is entry, "only the head of a line is ever sent"
        del line[0]
        self._held -= 1
        if line:
            self._get_ready(line[0], now_s)
        else:
            del self._lines[entry.task_id]

    def _get_ready(self, entry: Entry, now_s: float) -> None:
        entry.since_s = now_s
        self._ready[entry.owed.verify].append(entry)

    def _rebuild(self, flying: Collection[Entry], now_s: float) -> None:
        """After rows were taken out of the lines: who is at the head of one and not in flight?"""
        heads = {line[0] for line in self._lines.values()}
        halves = [[entry for entry in half if entry in heads] for half in self._halves]
        self._halves = [half for half in halves if half]
        placed = {entry for half in self._halves for entry in half}
        for verify, queue in self._ready.items():
            self._ready[verify] = deque(entry for entry in queue if entry in heads)
            placed.update(self._ready[verify])
        for line in self._lines.values():
            if line[0] not in placed and line[0] not in flying:
                self._get_ready(line[0], now_s)


def count_by_name(verdicts: Iterable[object]) -> Counter[str]:
    """How many of each kind of verdict, for metrics."""
    kinds = Counter(map(type, verdicts))
    return Counter({kind.__name__.lower(): count for kind, count in kinds.items()})

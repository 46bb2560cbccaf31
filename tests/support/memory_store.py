"""A store in a dict: what `ports.Store` says, in the fewest words. For tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from processor.core.codes import CODES
from processor.core.events import IN_FLIGHT, Change, MessageState
from processor.core.join import joined
from processor.errors import StoreFailed
from processor.ports import Loaded, OwedCount


class MemoryStore:
    """Survives `close`, as a disk does; `wipe` empties. `fail_next` breaks the next write."""

    def __init__(self, org_of: Callable[[str | None], str] = lambda _: "default") -> None:
        self.fail_next = False
        self._org_of = org_of
        self._kept: dict[int, dict[str, MessageState]] = {}
        self._checkpoints: dict[int, int] = {}
        self._marks: dict[int, str] = {}
        self._open: dict[int, dict[str, MessageState]] = {}

    def open(self, partition: int) -> int | None:
        checkpoint = self._checkpoints.get(partition)
        if checkpoint is None:
            self._kept.pop(partition, None)
            self._marks.pop(partition, None)
        self._open[partition] = self._kept.setdefault(partition, {})
        return checkpoint

    def mark(self, partition: int) -> str:
        return self._marks.get(partition, "")

    def load(
        self,
        partition: int,
        changes: Loaded,
        checkpoint: int,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        self._fail(partition)
        states = self._open[partition]
        for message_id, state in joined(changes, states).items():
            if state is None:
                states.pop(message_id, None)
            else:
                states[message_id] = state
        self._keep_checkpoint(partition, checkpoint, mark)

    def unfit(self, message_id: str, state: MessageState | None) -> str | None:
        return None

    def get_many(self, partition: int, ids: Collection[str]) -> dict[str, MessageState]:
        states = self._open[partition]
        return {message_id: states[message_id] for message_id in ids if message_id in states}

    def put_many(
        self,
        partition: int,
        changes: Iterable[Change],
        checkpoint: int | None = None,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        self._fail(partition)
        states = dict(self._open[partition])
        for change in changes:
            old, new = change.old, change.new
            some = new or old
            if some is not None:
                if states.pop(some.message_id, None) != old:
                    raise StoreFailed("a state was not what it was said to be", partition)
                if new is not None:
                    states[new.message_id] = new
        self._open[partition].clear()
        self._open[partition].update(states)
        if checkpoint is not None:
            self._keep_checkpoint(partition, checkpoint, mark)

    def due(
        self, org: str, now_ms: int, limit: int, partitions: Collection[int] | None = None
    ) -> list[tuple[int, MessageState]]:
        rows: list[tuple[int, MessageState]] = []
        for final in (True, False):
            ranked = []
            for partition in self._among(partitions):
                found = [
                    state
                    for state in self._owed(partition)
                    if CODES[state.code].final is final
                    and self._org_of(state.account_id) == org
                    and state.due_at <= min(now_ms, IN_FLIGHT - 1)
                ]
                found.sort(key=lambda state: (state.due_at, state.message_id))
                ranked += [(rank, s.due_at, partition, s) for rank, s in enumerate(found)]
            ranked.sort(key=lambda row: row[:3])
            taken = [(partition, s) for _, _, partition, s in ranked[: max(0, limit - len(rows))]]
            rows += sorted(taken, key=lambda row: (row[1].due_at, row[0], row[1].message_id))
        return rows

    def _among(self, partitions: Collection[int] | None) -> list[int]:
        return [p for p in self._open if partitions is None or p in partitions]

    def next_due(self, org: str, partitions: Collection[int] | None = None) -> int | None:
        waiting = [
            state.due_at
            for partition in self._among(partitions)
            for state in self._owed(partition)
            if state.due_at != IN_FLIGHT and self._org_of(state.account_id) == org
        ]
        return min(waiting, default=None)

    def owed_rows(self, partition: int) -> Iterator[MessageState]:
        return iter(self._owed(partition))

    def owed_count(self, partition: int | None = None) -> OwedCount:
        among = self._open if partition is None else (partition,)
        owed = [state for each in among for state in self._owed(each)]
        final = sum(CODES[state.code].final for state in owed)
        return OwedCount(final, len(owed) - final, sum(state.doubt_at > 0 for state in owed))

    def expired(self, partition: int, before_ms: int, limit: int) -> list[MessageState]:
        old = [
            state
            for state in self._open[partition].values()
            if not state.owed and state.last_event_time < before_ms
        ]
        return sorted(old, key=lambda state: state.last_event_time)[:limit]

    def count(self) -> int:
        return sum(len(states) for states in self._open.values())

    def close(self, partition: int) -> None:
        self._open.pop(partition, None)

    def wipe(self, partition: int) -> None:
        self.close(partition)
        self._kept.pop(partition, None)
        self._checkpoints.pop(partition, None)
        self._marks.pop(partition, None)

    def _keep_checkpoint(self, partition: int, checkpoint: int, mark: str) -> None:
        self._checkpoints[partition] = checkpoint
        if mark:
            self._marks[partition] = mark

    def _owed(self, partition: int) -> list[MessageState]:
        return [state for state in self._open[partition].values() if state.owed]

    def _fail(self, partition: int) -> None:
        if self.fail_next:
            self.fail_next = False
            raise StoreFailed("told to fail", partition)

"""The local store on a disk that outlives its process, can be lost, and can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from processor.core.events import Change, MessageState
from processor.errors import StoreBlocked, StoreFailed
from processor.ports import Loaded
from tests.simulation.machine import Machine
from tests.simulation.weather import DELETE_RETENTION_S
from tests.support.memory_store import MemoryStore

DELETE_RETENTION_MS: Final = round(DELETE_RETENTION_S * 1000)
IN_PARTS: Final = 0.3  # of the writes that are more than one change, where stores fail


def _message_id(change: Change) -> str:
    some = change.new or change.old
    return "" if some is None else some.message_id


class Disk:
    """What one host keeps from process to process."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, MessageState]] = {}
        self.checkpoints: dict[int, int] = {}
        self.dated: dict[int, int] = {}
        self.marks: dict[int, str] = {}

    def lose(self) -> None:
        for kept in (self.kept, self.checkpoints, self.dated, self.marks):
            kept.clear()


class SimStore(MemoryStore):
    """A store whose writes fail and end processes. A failed write leaves what was there, and
    perhaps a part of the new.
    """

    def __init__(
        self,
        machine: Machine,
        disk: Disk,
        org_of: Callable[[str | None], str] = lambda _: "default",
    ) -> None:
        super().__init__(org_of)
        self._machine, self._disk = machine, disk
        self._kept, self._checkpoints, self._marks = disk.kept, disk.checkpoints, disk.marks

    def open(self, partition: int) -> int | None:
        """A checkpoint so old that tombstones since may be gone is worth nothing."""
        if self._machine.world.wall_ms() - self._disk.dated.get(partition, 0) > DELETE_RETENTION_MS:
            self.wipe(partition)
        return super().open(partition)

    def load(
        self,
        partition: int,
        changes: Loaded,
        checkpoint: int,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        dated = self._date(as_of_ms)
        self._before(partition)
        super().load(partition, self.to_load(changes), checkpoint, mark=mark)
        self._disk.dated[partition] = dated

    def put_many(
        self,
        partition: int,
        changes: Iterable[Change],
        checkpoint: int | None = None,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        dated = self._date(as_of_ms)
        self._before(partition)
        left = sorted(self.to_put(partition, changes), key=_message_id)
        may_end = self._machine.world.weather.store_fails > 0
        if may_end and len(left) > 1 and self._machine.world.chance(IN_PARTS):
            size = self._machine.world.rng.randrange(1, len(left))
            super().put_many(partition, left[:size])
            left = left[size:]
            self._before(partition)
        super().put_many(partition, left, checkpoint, mark=mark)
        if checkpoint is not None:
            self._disk.dated[partition] = dated
        self._machine.point("stored")

    def to_load(self, changes: Loaded) -> Loaded:
        """For a faulty store."""
        return changes

    def to_put(self, partition: int, changes: Iterable[Change]) -> Iterable[Change]:
        """For a faulty store."""
        return changes

    def _date(self, as_of_ms: int | None) -> int:
        """In true time: hosts' clocks differ by less than a retention."""
        now = self._machine.now_ms() if as_of_ms is None else as_of_ms
        return now - self._machine.skew_ms

    def _before(self, partition: int) -> None:
        world = self._machine.world
        self._machine.point("store")
        if world.chance(world.weather.store_fails):
            known = world.rng.random() < 0.5
            world.note(self._machine.name, "store fails", partition, "" if known else "(unknown)")
            kind = StoreBlocked if world.rng.random() < 0.5 else StoreFailed
            raise kind("told to fail", partition if known else None)

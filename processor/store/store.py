"""The local store: a cache of the status topic, one LMDB environment per partition.

It may be deleted at any time. A checkpoint says how far into the status topic it goes, and is
only believed on the machine, since the boot, and for the topic that it was written for.
Layout: `partition.py`; what is written when: `index.py`; bytes: `codec.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from processor.core.events import Change, MessageState
from processor.errors import ConfigError, StopProcessing, StoreFailed
from processor.ports import Clock, Loaded, OwedCount
from processor.store.codec import FORMAT
from processor.store.faults import guarded, lock, probe
from processor.store.index import OWED, Indexer, unfit
from processor.store.partition import PartitionStore

MAP_BYTES: Final = 256 * 1024 * 1024  # address space to begin with; the file grows as it is used
MAP_LIMIT_BYTES: Final = 64 * 1024 * 1024 * 1024
CLOCK_STEP_MS: Final = 60_000  # a checkpoint this much "in the future" is a corrected clock
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def machine_boot_id() -> str:
    """The kernel's id of this boot. Where there is none, one that no later process has: then no
    store outlives its process, because nobody can tell whether the machine lost power.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return uuid4().hex


@contextmanager
def _blamed(partition: int) -> Iterator[None]:
    """Say whose store has failed."""
    try:
        yield
    except StoreFailed as failure:
        failure.partition = partition
        raise


class LmdbStore:
    """Implements `ports.Store`, for one thread. Any of it but `close` may raise StoreFailed.

    `identity` names the status topic (its cluster and id) and whatever else the indexes depend
    on: change it when `org_of`, which maps an account id to an org, gives other answers.
    Raises ConfigError when the directory can't be used.
    """

    def __init__(
        self,
        directory: Path,
        identity: str,
        *,
        clock: Clock,
        delete_retention_ms: int,
        boot_id: str | None = None,
        org_of: Callable[[str | None], str] = lambda _: "default",
        map_bytes: int = MAP_BYTES,
        map_limit_bytes: int = MAP_LIMIT_BYTES,
    ) -> None:
        self._directory = directory
        self._stamp = {
            "format": FORMAT,
            "identity": identity,
            "boot_id": machine_boot_id() if boot_id is None else boot_id,
        }
        self._clock = clock
        self._delete_retention_ms = delete_retention_ms
        self._indexer = Indexer(org_of)
        self._map_bytes = map_bytes
        self._map_limit_bytes = map_limit_bytes
        self._open: dict[int, PartitionStore] = {}
        self._locks: dict[int, int] = {}
        self._marks: dict[int, str] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise ConfigError(
                f"STATE__DIR {directory} can't be made ({failure.strerror}): "
                "name a directory that this user may write"
            ) from failure
        probe(directory)

    # -- opening and closing -----------------------------------------------------------------

    def open(self, partition: int) -> int | None:
        """As in `ports.Store`. Raises StopProcessing when another process has the partition
        open, StoreFailed when the files are corrupt (`wipe` and open again), StoreBlocked when the
        machine does not let us.
        """
        self.close(partition)
        self._lock(partition)
        try:
            with _blamed(partition):
                fresh = not self._path(partition).exists()
                store = self._open[partition] = self._opened(partition)
                checkpoint = None if fresh else self._checkpoint(partition, store)
                if checkpoint is None and not fresh:
                    store.close()
                    self._remove(partition)
                    self._open[partition] = self._opened(partition)
        except BaseException:  # whatever it was, the file's lock must not stay ours
            self.close(partition)
            raise
        return checkpoint

    def close(self, partition: int) -> None:
        self._marks.pop(partition, None)
        store = self._open.pop(partition, None)
        if store is not None:
            store.close()
        self._unlock(partition)

    def wipe(self, partition: int) -> None:
        self.close(partition)
        self._lock(partition)
        try:
            self._remove(partition)
        finally:
            self._unlock(partition)

    def _opened(self, partition: int) -> PartitionStore:
        return PartitionStore(
            self._path(partition), self._indexer, self._map_bytes, self._map_limit_bytes
        )

    def _path(self, partition: int) -> Path:
        return self._directory / f"partition-{partition}"

    def _remove(self, partition: int) -> None:
        with _blamed(partition), guarded("wipe", self._path(partition)):
            if self._path(partition).exists():
                shutil.rmtree(self._path(partition))

    def _lock(self, partition: int) -> None:
        """Beside the partition's directory, not in it: the directory may be removed."""
        path = self._directory / f"partition-{partition}.lock"
        with _blamed(partition), guarded("lock", path):
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                lock(file, self._directory)
                os.truncate(file, 0)
                os.pwrite(file, str(os.getpid()).encode(), 0)
            except BlockingIOError as failure:
                holder = os.read(file, 20).decode(errors="replace").strip() or "unknown"
                os.close(file)
                raise StopProcessing(
                    f"partition {partition} in {self._directory} is open in another process "
                    f"(pid {holder}): give each process a STATE__DIR of its own, or stop the other"
                ) from failure
            except BaseException:  # whatever it was, the file's lock must not stay ours
                os.close(file)
                raise
        self._locks[partition] = file

    def _unlock(self, partition: int) -> None:
        file = self._locks.pop(partition, None)
        if file is not None:
            os.close(file)

    # -- the checkpoint ----------------------------------------------------------------------

    def mark(self, partition: int) -> str:
        return self._marks.get(partition, "")

    def _record(self, partition: int, checkpoint: int, as_of_ms: int | None, mark: str) -> bytes:
        saved_at = self._clock.now_ms() if as_of_ms is None else as_of_ms
        if mark:
            self._marks[partition] = mark
        kept = self._marks.get(partition, "")
        record = self._stamp | {"offset": checkpoint, "saved_at": saved_at, "mark": kept}
        return json.dumps(record).encode()

    def _checkpoint(self, partition: int, store: PartitionStore) -> int | None:
        """The offset, if the record can be believed. Tombstones that are older than the topic's
        delete.retention.ms may be gone from it: an older store would keep what they removed.
        """
        raw = store.checkpoint()
        if raw is None:
            return None
        try:
            record = json.loads(raw)
            offset, saved_at = int(record["offset"]), int(record["saved_at"])
            mark = str(record.get("mark", ""))
            stamp = {key: record.get(key) for key in self._stamp}
        except (ValueError, TypeError, KeyError, AttributeError) as failure:
            raise StoreFailed(f"local store: its checkpoint is corrupt: {failure}") from failure
        age_ms = self._clock.now_ms() - saved_at
        fresh = -CLOCK_STEP_MS <= age_ms <= self._delete_retention_ms
        if not fresh or stamp != self._stamp:
            return None
        self._marks[partition] = mark
        return offset

    # -- states ------------------------------------------------------------------------------

    def load(
        self,
        partition: int,
        changes: Loaded,
        checkpoint: int,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        record = self._record(partition, checkpoint, as_of_ms, mark)
        with _blamed(partition):
            self._open[partition].load(changes, record)

    def unfit(self, message_id: str, state: MessageState | None) -> str | None:
        return unfit(message_id, state)

    def get_many(self, partition: int, ids: Collection[str]) -> dict[str, MessageState]:
        with _blamed(partition):
            return self._open[partition].get(ids)

    def put_many(
        self,
        partition: int,
        changes: Iterable[Change],
        checkpoint: int | None = None,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        record = None if checkpoint is None else self._record(partition, checkpoint, as_of_ms, mark)
        with _blamed(partition):
            self._open[partition].put(changes, record)

    def count(self) -> int:
        return sum(store.count() for store in self._open.values())

    def expired(self, partition: int, before_ms: int, limit: int) -> list[MessageState]:
        """May give fewer than there are; the next call goes on from there."""
        with _blamed(partition):
            return self._open[partition].expired(before_ms, limit)

    # -- what is owed ------------------------------------------------------------------------

    def due(
        self, org: str, now_ms: int, limit: int, partitions: Collection[int] | None = None
    ) -> list[tuple[int, MessageState]]:
        """Within a priority, the first of each partition come before the second of any."""
        rows: list[tuple[int, MessageState]] = []
        stores = self._stores(partitions)
        for level in OWED:
            room = limit - len(rows)
            if room > 0:
                rows += self._due(stores, level, org, now_ms, room)
        return rows

    def _stores(self, partitions: Collection[int] | None) -> dict[int, PartitionStore]:
        if partitions is None:
            return self._open
        return {p: store for p, store in self._open.items() if p in partitions}

    def _due(
        self, stores: dict[int, PartitionStore], level: int, org: str, now_ms: int, room: int
    ) -> list[tuple[int, MessageState]]:
        found = []
        for partition, store in stores.items():
            with _blamed(partition):
                keys = store.due_keys(level, org, now_ms, room)
            found += [(rank, due_at, partition, key) for rank, (due_at, key) in enumerate(keys)]
        if len(found) > room:
            found = sorted(found)[:room]
        wanted: dict[int, list[bytes]] = {}
        for _, _, partition, key in found:
            wanted.setdefault(partition, []).append(key)
        rows = []
        for partition, keys_of_it in wanted.items():
            with _blamed(partition):
                states = self._open[partition].states(keys_of_it)
            rows += [(partition, state) for state in states]
        return sorted(rows, key=lambda row: (row[1].due_at, row[0], row[1].message_id))

    def next_due(self, org: str, partitions: Collection[int] | None = None) -> int | None:
        waiting = (store.next_due(org) for store in self._stores(partitions).values())
        return min((due for due in waiting if due is not None), default=None)

    def owed_rows(self, partition: int) -> Iterator[MessageState]:
        with _blamed(partition):
            rows = self._open[partition].owed_rows()
        return self._blamed_rows(partition, rows)

    def _blamed_rows(self, partition: int, rows: Iterator[MessageState]) -> Iterator[MessageState]:
        with _blamed(partition):
            yield from rows

    def owed_count(self, partition: int | None = None) -> OwedCount:
        counts = OwedCount(0, 0)
        for store in self._open.values() if partition is None else (self._open[partition],):
            more = store.owed_count()
            counts = OwedCount(*map(sum, zip(counts, more, strict=True)))
        return counts

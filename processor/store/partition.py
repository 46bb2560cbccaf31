"""One partition's LMDB environment.

    states               message id                              -> packed state
    owed_final           org | due_at (8 bytes) | message id     -> nothing
    owed_intermediate    the same, for codes that are not final  -> nothing
    in_doubt             message id, of those of the two above that may have been sent -> nothing
    expiry               hour of last event (4 bytes) | message id -> nothing
    meta                 "checkpoint"                            -> the caller's record

An index entry is removed by what the caller says the old state was, without another read; that
it was right is checked. Batches go in sorted by key, through `getmulti` and `putmulti`.

No `writemap`, and no holes in what is mapped: a full disk would be SIGBUS instead of an error. No
`sync`: what was written survives the process, not the machine; the boot id in the checkpoint
tells the two apart.
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

import lmdb

from processor.core.events import IN_FLIGHT, Change, MessageState
from processor.core.join import joined
from processor.errors import StoreBlocked, StoreFailed
from processor.ports import Loaded
from processor.store.codec import unpack, unpack_all
from processor.store.faults import guarded, reserve
from processor.store.index import (
    DOUBT,
    EXPIRY,
    HOUR_BYTES,
    INDEX_NAMES,
    OWED,
    Indexer,
    Seen,
    Writes,
    due_end,
    due_of,
    expiry_end,
    message_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lmdb import _Database

Item = TypeVar("Item")

log = logging.getLogger(__name__)

COMPACT_MIN_BYTES: Final = 64 * 1024 * 1024  # a smaller file is not worth a copy
COMPACT_USED_SHARE: Final = 0.4  # of the file: below this, it is copied without its free pages
EXPIRY_SCAN_ROWS: Final = 2_000  # looked at in one call, however few of them may go
SNAPSHOT_ROWS: Final = 1_000  # read at a time
SEEN_FROM_CHANGES: Final = 5_000  # in one step: a restore that is worth a filter
# LMDB never gives back the memory of the most pages that one transaction has ever changed, and a
# change of a large store touches two or three: 10 kB. So that is 5 MB for each partition.
MOST_CHANGES: Final = 500
_CHECKPOINT: Final = b"checkpoint"
_DATA_FILE: Final = "data.mdb"
_LOCK_FILE: Final = "lock.mdb"
_LOCK_BYTES: Final = 8_192  # of 126 readers, LMDB's default


class PartitionStore:
    """Raises StoreFailed from every method."""

    def __init__(self, path: Path, indexer: Indexer, map_bytes: int, map_limit_bytes: int) -> None:
        self._path = path
        self._indexer = indexer
        self._map_bytes = map_bytes
        self._map_limit = map_limit_bytes
        self._resume = b""
        self._snapshots: WeakSet[OwedRows] = WeakSet()
        self._seen: Seen | None = None  # what a large restore into an empty one has loaded
        with guarded("open", self._path):
            path.mkdir(parents=True, exist_ok=True)
            self._open()
            try:
                if self._mostly_free():
                    self._compact()
            except BaseException:  # whatever it was, the file's lock must not stay ours
                self._env.close()
                raise

    # -- the file ----------------------------------------------------------------------------

    def _open(self) -> None:
        reserve(self._path / _LOCK_FILE, _LOCK_BYTES)
        self._env = lmdb.open(
            str(self._path),
            map_size=min(self._map_bytes, self._map_limit),
            max_dbs=len(INDEX_NAMES) + 2,
            metasync=False,
            sync=False,
            readahead=False,
            max_spare_txns=2,
        )
        try:
            self._extend()
            self._states: _Database = self._env.open_db(b"states")
            self._meta: _Database = self._env.open_db(b"meta")
            self._indexes = [self._env.open_db(name) for name in INDEX_NAMES]
        except BaseException:  # whatever it was, the file's lock must not stay ours
            self._env.close()
            raise

    def _extend(self) -> None:
        """Bring a file that was cut short to the length its header claims: reading the missing
        pages is then an error (they are zero) and not SIGBUS.
        """
        size = self._env.stat()["psize"] * (self._env.info()["last_pgno"] + 1)
        file = self._path / _DATA_FILE
        if file.stat().st_size < size:
            reserve(file, size)

    def _mostly_free(self) -> bool:
        size = (self._path / _DATA_FILE).stat().st_size
        if size < COMPACT_MIN_BYTES:
            return False
        with self._env.begin() as txn:
            stats = [txn.stat(db) for db in (self._states, *self._indexes)]
        used = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return used * stats[0]["psize"] < size * COMPACT_USED_SHARE

    def _compact(self) -> None:
        """Replace the file by a copy without free pages; where there is no room for one, don't."""
        target = self._path / "compact"
        shutil.rmtree(target, ignore_errors=True)
        try:
            target.mkdir()
            self._env.copy(str(target), compact=True)
        except (lmdb.Error, OSError) as failure:
            shutil.rmtree(target, ignore_errors=True)
            log.warning(
                "store not compacted", extra={"file": self._path / _DATA_FILE, "why": failure}
            )
            return
        self._env.close()
        (target / _DATA_FILE).replace(self._path / _DATA_FILE)
        shutil.rmtree(target, ignore_errors=True)
        self._open()

    def close(self) -> None:
        self._env.close()

    def checkpoint(self) -> bytes | None:
        """The record that was last written with a batch."""
        with guarded("read", self._path), self._env.begin() as txn:
            return txn.get(_CHECKPOINT, db=self._meta)

    # -- writing -----------------------------------------------------------------------------

    def put(self, changes: Iterable[Change], record: bytes | None) -> None:
        """States with their indexes; with the last of them the checkpoint record, unless None."""
        self._seen = None
        sorted_changes = sorted(changes, key=_message_id)  # neighbours share pages
        with guarded("write", self._path):
            for part, is_last in _parts(sorted_changes):
                self._write(self._indexer.writes(part), record if is_last else None)

    def _write(self, writes: Writes, record: bytes | None) -> None:
        """One transaction."""
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    self._run(txn, writes)
                    if record is not None:
                        txn.put(_CHECKPOINT, record, db=self._meta)
                return
            except lmdb.MapFullError:
                self._grow()

    def _run(self, txn: lmdb.Transaction[bytes], writes: Writes) -> None:
        before = txn.stat(self._states)["entries"]
        deleted = [txn.delete(key, db=self._states) for key in writes.state_drops]
        txn.cursor(self._states).putmulti(writes.state_puts)
        growth = txn.stat(self._states)["entries"] - before
        for index, puts, drops in zip(self._indexes, writes.puts, writes.drops, strict=True):
            deleted += [txn.delete(key, db=index) for key in drops]
            txn.cursor(index).putmulti(puts)
        if growth != writes.growth or not all(deleted):
            raise StoreFailed("local store: a state was not what it was said to be")

    def _grow(self) -> None:
        size = self._env.info()["map_size"]
        if size >= self._map_limit:
            raise StoreBlocked(
                f"local store: full at {size} bytes; raise STATE__MAP_LIMIT_BYTES, "
                "or shorten STATE__RETENTION_S"
            )
        for snapshot in list(self._snapshots):
            snapshot.detach()  # growing the map ends every open transaction
        self._env.set_mapsize(min(size * 2, self._map_limit))

    def load(self, changes: Loaded, record: bytes) -> None:
        """Put or drop by message id, joined with what was there."""
        if self._seen is None and len(changes) >= SEEN_FROM_CHANGES and not self.count():
            self._seen = Seen()
        seen = self._seen
        old = self.get(seen.again(changes) if seen else {message_id for message_id, _ in changes})
        latest = sorted(joined(changes, old).items(), key=itemgetter(0))
        with guarded("write", self._path):
            for part, is_last in _parts(latest):
                self._write(self._indexer.loaded(part, old), record if is_last else None)

    # -- reading -----------------------------------------------------------------------------

    def get(self, ids: Collection[str]) -> dict[str, MessageState]:
        names = {message_id.encode(): message_id for message_id in ids}
        with guarded("read", self._path), self._env.begin() as txn:
            rows = txn.cursor(self._states).getmulti(sorted(names))
        return unpack_all(rows, names)

    def count(self) -> int:
        with guarded("read", self._path), self._env.begin() as txn:
            return txn.stat(self._states)["entries"]

    def owed_count(self) -> tuple[int, int, int]:
        """Final, intermediate, and how many of both are in doubt."""
        with guarded("read", self._path), self._env.begin() as txn:
            final, intermediate, doubt = (
                txn.stat(self._indexes[level])["entries"] for level in (*OWED, DOUBT)
            )
            return final, intermediate, doubt

    def due_keys(self, level: int, org: str, now_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Due time and message id of the rows that are due, in order."""
        prefix = self._indexer.org_key(org)
        end = due_end(prefix, now_ms)
        with guarded("read", self._path), self._env.begin() as txn:
            cursor = txn.cursor(self._indexes[level])
            if not cursor.set_range(prefix):
                return []
            found = islice(takewhile(end.__gt__, cursor.iternext(values=False)), limit)
            return [(due_of(key), message_key(key)) for key in found]

    def states(self, keys: Iterable[bytes]) -> list[MessageState]:
        """The states behind keys that `due_keys` gave, by message id."""
        with guarded("read", self._path), self._env.begin() as txn:
            rows = _rows(txn, self._states, keys)
            return [unpack(key.decode(), value) for key, value in rows]

    def next_due(self, org: str) -> int | None:
        prefix = self._indexer.org_key(org)
        found = []
        with guarded("read", self._path), self._env.begin() as txn:
            for level in OWED:
                cursor = txn.cursor(self._indexes[level])
                if cursor.set_range(prefix) and cursor.key().startswith(prefix):
                    found.append(due_of(cursor.key()))
        return min((due for due in found if due != IN_FLIGHT), default=None)

    def owed_rows(self) -> OwedRows:
        self._seen = None  # they are asked for when a restore is done
        with guarded("read", self._path):
            indexes = [self._indexes[level] for level in OWED]
            rows = OwedRows(self._path, self._env.begin(), self._states, indexes)
        self._snapshots.add(rows)
        return rows

    def expired(self, before_ms: int, limit: int) -> list[MessageState]:
        """Settled states whose last event is before that. Looks at a bounded number of rows, from
        where the last call found something or stopped: rows still owed hide none behind them.
        """
        end = expiry_end(before_ms)
        start, budget = self._resume, max(limit, EXPIRY_SCAN_ROWS)
        with guarded("read", self._path), self._env.begin() as txn:
            keys = self._expiry_keys(txn, start, end, budget)
            if start and len(keys) < budget:
                keys += self._expiry_keys(txn, b"", min(start, end), budget - len(keys))
            values = dict(_rows(txn, self._states, (key[HOUR_BYTES:] for key in keys)))
        found: list[MessageState] = []
        self._resume = keys[-1] if len(keys) == budget else b""
        for key in keys:
            name = key[HOUR_BYTES:]
            state = unpack(name.decode(), values[name])
            if not state.owed and state.last_event_time < before_ms:
                if not found:
                    self._resume = key
                found.append(state)
                if len(found) == limit:
                    break
        return found

    def _expiry_keys(
        self, txn: lmdb.Transaction[bytes], start: bytes, end: bytes, limit: int
    ) -> list[bytes]:
        cursor = txn.cursor(self._indexes[EXPIRY])
        if not cursor.set_range(start):
            return []
        return list(islice(takewhile(end.__gt__, cursor.iternext(values=False)), limit))


def _message_id(change: Change) -> str:
    some = change.new or change.old
    return "" if some is None else some.message_id


def _parts(items: list[Item]) -> Iterator[tuple[list[Item], bool]]:
    """For one transaction each, and whether it is the last. Nothing is a part of its own."""
    for begin in range(0, max(len(items), 1), MOST_CHANGES):
        end = begin + MOST_CHANGES
        yield items[begin:end], end >= len(items)


def _rows(
    txn: lmdb.Transaction[bytes], states: _Database, keys: Iterable[bytes]
) -> list[tuple[bytes, bytes]]:
    """The packed states of an index's entries, by message id. Every one has to be there."""
    wanted = sorted(keys)
    rows = txn.cursor(states).getmulti(wanted)
    if len(rows) != len(wanted):
        raise StoreFailed("local store: an index names a message that is not there")
    return rows


class OwedRows:
    """An iterator over the owed rows as they were when it was made, whatever is written since."""

    def __init__(
        self,
        path: Path,
        txn: lmdb.Transaction[bytes],
        states: _Database,
        indexes: Sequence[_Database],
    ) -> None:
        self._path = path
        self._txn = txn
        self._states = states
        self._left = deque(indexes)
        self._after = b""
        self._rows: deque[tuple[bytes, bytes]] = deque()

    def __iter__(self) -> Iterator[MessageState]:
        return self

    def __next__(self) -> MessageState:
        while not self._rows:
            if not self._left:
                raise StopIteration
            self._read()
        key, value = self._rows.popleft()
        return unpack(key.decode(), value)

    def _read(self) -> None:
        """The next rows; at the end, end the transaction. No cursor outlives the call."""
        with guarded("read", self._path):
            cursor = self._txn.cursor(self._left[0])
            keys = []
            if cursor.set_range(self._after + b"\0"):
                keys = list(islice(cursor.iternext(values=False), SNAPSHOT_ROWS))
            if len(keys) == SNAPSHOT_ROWS:
                self._after = keys[-1]
            else:
                self._after = b""
                self._left.popleft()
            self._rows += _rows(self._txn, self._states, map(message_key, keys))
            if not self._left:
                self._txn.abort()

    def detach(self) -> None:
        """Read what is left now, and let the transaction go."""
        while self._left:
            self._read()

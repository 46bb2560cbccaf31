"""What goes wrong with the local store's files: they are damaged, or the machine does not let us.

Damage is mended by a wipe. A full disk, too few open files or a missing permission is not: the
store was right before and still is, and would be wiped and restored for as long as it lasts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from processor.errors import ConfigError, StoreBlocked, StoreFailed

ROOM_BYTES: Final = 1024 * 1024  # with less, a disk counts as full whatever the error's name
_MIB: Final = 1024 * 1024
# LMDB tells the system's errors by their texts alone, all but these as a plain `lmdb.Error`.
_OF_THE_MACHINE: Final = (lmdb.DiskError, lmdb.LockError, lmdb.MemoryError, lmdb.ReadonlyError)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_FILES: Final = (errno.EMFILE, errno.ENFILE)
_NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def guarded(what: str, path: Path) -> Iterator[None]:
    """Whatever LMDB or the machine answers becomes StoreFailed, or StoreBlocked. `path`: where the
    store is, there or not.
    """
    try:
        yield
    except (lmdb.Error, OSError, OverflowError, UnicodeError, struct.error) as failure:
        text = f"local store, {what}: {failure}"
        if _is_of_the_machine(failure):
            raise StoreBlocked(f"{text} ({_advice(failure, path)})") from failure
        raise StoreFailed(text) from failure


def _is_of_the_machine(failure: BaseException) -> bool:
    return type(failure) is lmdb.Error or isinstance(failure, (OSError, *_OF_THE_MACHINE))


def _advice(failure: BaseException, path: Path) -> str:
    free = free_bytes(path)
    if _is_one_of(failure, _NO_ROOM) or (free is not None and free < ROOM_BYTES):
        told = "" if free is None else f": {free / _MIB:.1f} MB free"
        return f"the disk of STATE__DIR is full{told} at {path.parent}; make room there"
    if _is_one_of(failure, _NO_FILES):
        return "each partition needs 4 open files; raise the hard limit (ulimit -Hn)"
    return f"look at the disk, the permissions and the quota of STATE__DIR, {path.parent}"


def _is_one_of(failure: BaseException, numbers: tuple[int, ...]) -> bool:
    if isinstance(failure, OSError):
        return failure.errno in numbers
    return any(os.strerror(number) in str(failure) for number in numbers)


def free_bytes(path: Path) -> int | None:
    """What this user may still write to the path's disk; None: nobody can tell."""
    for place in (path, *path.parents):
        try:
            disk = os.statvfs(place)
        except OSError:
            continue
        return disk.f_bavail * disk.f_frsize
    return None


def reserve(path: Path, size: int) -> None:
    """Give the file at least so many bytes of disk. What LMDB maps must not have holes: where the
    disk is full, to touch one ends the process (SIGBUS). Raises OSError.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        elif os.fstat(file).st_size < size:  # macOS
            os.truncate(file, size)
    finally:
        os.close(file)


def lock(file: int, directory: Path) -> None:
    """Raises BlockingIOError where another process has the file, ConfigError where the file system
    knows no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno in _NO_LOCKS:
            raise ConfigError(
                f"STATE__DIR {directory} is on a file system without locks ({failure.strerror}), "
                "as NFS may be: the local store (LMDB) needs a local disk; name a directory on one"
            ) from failure
        raise


def outlook(directory: Path) -> str:
    """What a start would find there, changing nothing. Raises ConfigError when that is a directory
    where no store can be.
    """
    free = free_bytes(directory)
    room = "" if free is None else f", {free / _MIB:,.0f} MB free"
    if directory.is_dir():
        probe(directory)
        if free is not None and free < ROOM_BYTES:
            raise ConfigError(f"STATE__DIR {directory}: its disk is full{room}; make room there")
        return f"{directory} can be written{room}"
    above = next(place for place in directory.parents if place.exists())
    if not directory.exists() and above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return f"{directory} is made at the start{room}"
    raise ConfigError(
        f"STATE__DIR {directory} is not there and can't be made: name a directory that this user "
        "may write"
    )


def probe(directory: Path) -> None:
    """Raises ConfigError when a store can't be in the directory, which has to be there. A full disk
    is no reason: there may be room again.
    """
    path = directory / f".writable-{os.getpid()}"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock(file, directory)
        finally:
            os.close(file)
            path.unlink()
    except OSError as failure:
        if failure.errno not in _NO_ROOM:
            raise ConfigError(
                f"STATE__DIR {directory} can't be written ({failure.strerror}): "
                "name a directory that this user may write"
            ) from failure

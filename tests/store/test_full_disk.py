"""The store on a machine that does not let it work: a full disk, too few open files, no locks.

Each story runs in a process of its own, because what is to be shown is that it does not die; on a
disk of its own (a tmpfs in a mount namespace), because what is to be full is not the machine's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from processor.core.events import Change
from processor.errors import ConfigError, StoreBlocked, StoreFailed
from processor.store import partition as partition_module
from processor.store.faults import outlook
from processor.worker.claim import Claim
from processor.worker.restoration import LONGEST_WAIT_S, Restoration, Restorations
from tests.store.test_store import fill, make
from tests.support.clocks import HandTurnedClock
from tests.support.rules import RULES
from tests.support.states import settled
from tests.support.status_log import StatusLog

ROOT = Path(__file__).parents[2]
PAGE: Final = 4096
DISK_MB: Final = 4


def in_a_process(story: Callable[[Path], None], directory: Path, *, disk: bool = False) -> None:
    """Run the story there; with `disk`, on a small disk that is mounted for it alone."""
    call = f"from {__name__} import *; {story.__name__}(Path({str(directory)!r}))"
    command = [sys.executable, "-c", call]
    if disk:
        mount = f'mount -t tmpfs -o size={DISK_MB}m tmpfs {directory} && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
        possible = subprocess.run([*command, "true"], capture_output=True, check=False)
        if possible.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {possible.stderr.decode()}")
        command += [sys.executable, "-c", call]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, f"{run.returncode}: {run.stderr}"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def stuff(directory: Path, *, leave: int = 0) -> Path:
    """Fill the disk but for so many bytes."""
    file = directory / "stuffing"
    with file.open("ab", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(PAGE)):
            pass
    size = file.stat().st_size
    os.truncate(file, size - leave)
    return file


# -- a full disk -------------------------------------------------------------------------------


def opens_with_little_room(directory: Path) -> None:
    for pages in range(24):
        stuffing = stuff(directory, leave=pages * PAGE)
        state = directory / f"state-{pages}"
        store = make(state)
        try:
            store.open(0)
        except StoreBlocked as failure:
            assert "the disk of STATE__DIR is full: 0." in str(failure), failure  # noqa: PT017
        store.close(0)
        stuffing.unlink()
        try:
            store.open(0)  # what was half made does not stay in the way for ever
        except StoreBlocked:
            raise
        except StoreFailed:
            store.wipe(0)
            assert store.open(0) is None
        store.close(0)
        shutil.rmtree(state)


def fills_up(directory: Path) -> None:
    store = make(directory)
    store.open(0)
    rows = fill(store, 1_000)
    stuffing = stuff(directory)
    for _ in range(3):
        with pytest.raises(StoreBlocked, match="the disk of STATE__DIR is full"):
            fill(store, 20_000, of="more ")
        store.close(0)
        assert store.open(0) == 1
        assert list(store.owed_rows(0)) == rows
    stuffing.unlink()
    fill(store, 2_000, of="more ")
    assert store.count() == 3_000
    store.close(0)


def is_cut_short_on_a_full_disk(directory: Path) -> None:
    store = make(directory)
    store.open(0)
    fill(store, 2_000)
    store.close(0)
    data = directory / "partition-0" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    stuff(directory)
    with pytest.raises(StoreBlocked, match="is full"):
        store.open(0)


def restores_when_there_is_room(directory: Path) -> None:
    clock = HandTurnedClock()
    log = StatusLog([settled(f"message-{n:08}") for n in range(8_000)])
    store = make(directory)
    restorations = Restorations()
    claim = Claim("group", "statuses", "events")
    restoration = Restoration(0, log, log, store, clock, RULES, claim)  # type: ignore[arg-type]
    stuffing = stuff(directory, leave=1 << 20)
    done = []
    for _ in range(100):
        done += restorations.step([restoration], clock.seconds)
        clock.seconds += 1
    assert done == []
    assert "the disk of STATE__DIR is full" in str(restoration.blocked)
    stuffing.unlink()
    for _ in range(round(LONGEST_WAIT_S) + 3):
        done += restorations.step([] if done else [restoration], clock.seconds)
        clock.seconds += 1
    assert [restored.partition for restored, _ in done] == [0]
    assert store.count() == 8_000
    store.close(0)


@pytest.mark.parametrize(
    "story", [opens_with_little_room, fills_up, is_cut_short_on_a_full_disk,
              restores_when_there_is_room]
)  # fmt: skip
def test_a_full_disk_is_named_and_waited_for(story: Callable[[Path], None], tmp_path: Path) -> None:
    in_a_process(story, tmp_path, disk=True)


def test_a_map_at_its_limit_is_no_reason_to_wipe(tmp_path: Path) -> None:
    store = make(tmp_path, map_bytes=1 << 18, map_limit_bytes=1 << 20)
    store.open(0)
    with pytest.raises(StoreBlocked, match="STATE__MAP_LIMIT_BYTES"):
        fill(store, 20_000)
    store.close(0)


def compacts_without_room(directory: Path) -> None:
    partition_module.COMPACT_MIN_BYTES = 1 << 16  # type: ignore[misc]
    store = make(directory)
    store.open(0)
    rows = fill(store, 6_000)
    store.put_many(0, [Change(row, None) for row in rows[3_000:]], checkpoint=2)
    store.put_many(0, [Change(row, None) for row in rows[2_000:3_000]], checkpoint=3)
    store.close(0)
    stuff(directory)
    assert store.open(0) == 3
    assert list(store.owed_rows(0)) == rows[:2_000]
    store.close(0)
    assert sorted(path.name for path in (directory / "partition-0").iterdir()) == [
        "data.mdb",
        "lock.mdb",
    ]


def test_where_there_is_no_room_for_a_copy_the_file_stays_as_it_is(tmp_path: Path) -> None:
    in_a_process(compacts_without_room, tmp_path, disk=True)


def is_looked_at(directory: Path) -> None:
    assert re.fullmatch(rf"{directory} can be written, [34] MB free", outlook(directory))
    assert outlook(directory / "a" / "b").startswith(
        f"{directory / 'a' / 'b'} is made at the start"
    )
    assert list(directory.iterdir()) == []
    stuff(directory)
    with pytest.raises(ConfigError, match="its disk is full, 0 MB free"):
        outlook(directory)
    (directory / "stuffing").unlink()
    (directory / "file").write_text("")
    for wrong in (directory / "file" / "state", directory / "file"):
        with pytest.raises(ConfigError, match=f"STATE__DIR {wrong} .* a directory that this user"):
            outlook(wrong)


def test_what_a_start_would_find_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    in_a_process(is_looked_at, tmp_path, disk=True)


# -- too few open files ------------------------------------------------------------------------


def runs_out_of_files(directory: Path) -> None:
    store = make(directory)
    opened = range(40)
    for partition in opened:
        store.open(partition)
        store.put_many(partition, [Change(None, settled("m"))], checkpoint=5)
        store.close(partition)
    free = open_files()
    for spare in range(1, 12):
        limit = free + 4 * 10 + spare
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 20_000))
        refused = 0
        for partition in opened:
            try:
                assert store.open(partition) == 5
            except StoreBlocked as failure:
                refused += 1
                assert "raise the hard limit (ulimit -Hn)" in str(failure), failure  # noqa: PT017
        assert 25 <= refused <= 32
        for partition in opened:
            store.close(partition)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    assert {store.open(partition) for partition in opened} == {5}


def test_too_few_open_files_are_named_and_wipe_nothing(tmp_path: Path) -> None:
    in_a_process(runs_out_of_files, tmp_path)


# -- a file system without locks, or that may not be written -----------------------------------

_FLOCK: Final = {"x86_64": 73, "aarch64": 32}


def deny_flock() -> None:
    """What NFS without a lock service answers, by the kernel's own filter of system calls."""

    class Filter(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte),
            ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint),
        )  # fmt: skip

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter)))

    load, jump_if, give = 0x20, 0x15, 0x06
    lines = (Filter * 4)(
        Filter(load, 0, 0, 0),
        Filter(jump_if, 0, 1, _FLOCK[platform.machine()]),
        Filter(give, 0, 0, 0x00050000 | errno.ENOLCK),
        Filter(give, 0, 0, 0x7FFF0000),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, by_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(seccomp, by_filter, ctypes.byref(Program(4, lines))) == 0, ctypes.get_errno()


def knows_no_locks(directory: Path) -> None:
    store = make(directory / "before")
    deny_flock()
    with pytest.raises(ConfigError, match=r"STATE__DIR .*NFS.*needs a local disk"):
        make(directory / "state")
    for use in (store.open, store.wipe):
        with pytest.raises(ConfigError, match="without locks"):
            use(0)
    assert open_files() < 10


@pytest.mark.skipif(platform.machine() not in _FLOCK, reason="its system calls are not known here")
def test_a_file_system_without_locks_is_a_setting_to_change(tmp_path: Path) -> None:
    in_a_process(knows_no_locks, tmp_path)


def vanishes(directory: Path) -> None:
    store = make(directory / "state")
    store.open(0)
    store.close(0)
    shutil.rmtree(directory / "state")
    assert store.open(0) is None
    store.close(0)
    shutil.rmtree(directory / "state")
    (directory / "state").write_text("")
    for use in (store.open, store.wipe):
        with pytest.raises(StoreBlocked, match="STATE__DIR"):
            use(0)


def test_a_directory_that_is_deleted_is_made_again_or_named(tmp_path: Path) -> None:
    in_a_process(vanishes, tmp_path)

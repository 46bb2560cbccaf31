"""The store on disk and its process: killed, beside another one, and on a disk that is full."""

from __future__ import annotations

import ctypes
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processor.core.events import Change
from processor.errors import StopProcessing
from tests.store.test_store import make
from tests.support.patience import patient
from tests.support.states import state

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from processor.core.events import Change
from tests.store.test_store import make
from tests.support.states import state

store = make(Path(sys.argv[1]))
batch = (store.open(0) or 0) + 1
while True:
    old = store.get_many(0, [f"{n}" for n in range(1_500)])
    new = [state(f"{n}", version=batch, due=batch) for n in range(1_500)]
    store.put_many(0, [Change(old.get(s.message_id), s) for s in new], checkpoint=batch)
    print(batch, flush=True)
    batch += 1
"""


@pytest.mark.chaos
def test_kill_9_leaves_each_message_whole_and_a_checkpoint_that_claims_nothing_too_much(
    tmp_path: Path,
) -> None:
    rng = random.Random(7)
    told = 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 20)):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        told = max([told, *map(int, child.stdout.read().split())])
        child.stdout.close()
        child.wait()

        store = make(tmp_path)
        checkpoint = store.open(0)
        assert checkpoint in (told, told + 1)
        rows = store.get_many(0, [f"{n}" for n in range(1_500)])
        assert {row.version for row in rows.values()} <= {checkpoint, checkpoint + 1}
        owed = store.due("default", checkpoint, 1_500) + store.due("default", told + 9, 1_500)
        assert {row.message_id: row for _, row in owed} == rows
        assert store.owed_count().total == len(rows) == 1_500
        store.close(0)


def test_a_partition_is_open_in_one_process_only(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    store = make(tmp_path)
    for use in (store.open, store.wipe):
        with pytest.raises(StopProcessing, match=rf"pid {child.pid}\).*STATE__DIR of its own"):
            use(0)
    assert store.open(1) is None  # another partition of the same directory
    child.kill()
    child.stdout.close()
    child.wait()
    assert store.open(0) is not None
    store.close(0)
    store.close(1)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from processor.errors import StoreFailed
from tests.store.test_store import fill, make

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
store = make(Path(sys.argv[1]))
store.open(0)
fill(store, 100)
try:
    fill(store, 20_000, of="more ")
except StoreFailed as failure:
    store.wipe(0)
    print(store.open(0), failure)
"""


def test_a_full_disk_fails_the_store_and_not_the_process(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=patient(60),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("None local store, write:"), run.stdout


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd",
                     "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )  # fmt: skip


def allocated() -> int:
    """Bytes that libraries hold now, and Python its larger objects."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallocInfo
    return int(mallinfo2().uordblks)


def writes_much(directory: str) -> None:
    store = make(Path(directory), map_bytes=1 << 25)
    store.open(0)
    first, second, third = (
        [state(f"{n:06}", account="a" * 250, version=version) for n in range(10_000)]
        for version in (1, 2, 3)
    )
    store.put_many(0, [Change(None, row) for row in first[:1_000]], checkpoint=1)
    before = allocated()
    store.put_many(0, [Change(None, row) for row in first[1_000:]], checkpoint=2)
    store.put_many(0, list(map(Change, first, second)), checkpoint=3)
    store.load(0, [(row.message_id, row) for row in third], checkpoint=4)
    assert allocated() - before < 2_000_000
    store.close(0)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc tells")
def test_a_store_holds_no_more_memory_after_a_large_write_than_after_a_small_one(
    tmp_path: Path,
) -> None:
    story = f"from {__name__} import writes_much; writes_much({str(tmp_path)!r})"
    run = subprocess.run(
        [sys.executable, "-c", story], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr

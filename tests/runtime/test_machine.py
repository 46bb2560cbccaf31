"""What the process asks of its machine. Each story has a process of its own: limits stay."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from processor.runtime.machine import FILES_BESIDE, FILES_PER_PARTITION, prepare, too_few_files
from tests.store.test_store import make

ROOT = Path(__file__).parents[2]


def in_a_process(story: str, *arguments: object) -> None:
    call = f"from {__name__} import {story}; {story}(*{[str(a) for a in arguments]!r})"
    run = subprocess.run(
        [sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def opens_many(directory: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4_096))
    prepare()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (4_096, 4_096)
    store = make(Path(directory))
    before = open_files()
    for partition in range(250):
        store.open(partition)
    assert open_files() - before == 250 * FILES_PER_PARTITION
    assert open_files() < 250 * FILES_PER_PARTITION + FILES_BESIDE


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    in_a_process("opens_many", tmp_path)


def refuses_nothing() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, 1_000))
    prepare()
    assert too_few_files(200) is None
    problem = too_few_files(201)
    assert problem is not None
    assert "all 201 partitions needs 1004" in problem


def test_a_hard_limit_that_is_too_low_is_told_with_the_number_to_write() -> None:
    in_a_process("refuses_nothing")


def is_small(directory: str) -> None:
    prepare()
    used = [bytearray(3 << 20) for _ in range(20)]
    used.clear()  # memory that was used before, as any process has after a while
    for boot in ("boot 1", "boot 2"):  # at the second, each store is wiped and made anew
        store = make(Path(directory), boot_id=boot)
        before = resident_kb()
        for partition in range(100):
            store.open(partition)
        assert (resident_kb() - before) / 100 < 400
        for partition in range(100):
            store.close(partition)


def resident_kb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_a_partition_with_nothing_in_it_holds_no_memory_to_speak_of(tmp_path: Path) -> None:
    in_a_process("is_small", tmp_path)

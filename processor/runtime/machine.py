"""What the process asks of its machine: open files, and memory only where it is used."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

FILES_PER_PARTITION: Final = 4  # the local store's: its data twice, LMDB's lock and ours
FILES_BESIDE: Final = 200  # Kafka's brokers, Salesforce, /metrics, logs
MAX_OPEN_FILES: Final = 1 << 16  # enough for any topic; some systems have no hard limit at all
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of <malloc.h>
_LARGE_BYTES: Final = 1 << 20


def prepare() -> None:
    """Once, at the start of a process that is to own partitions."""
    _raise_open_files()
    _keep_large_blocks_apart()


def _raise_open_files() -> None:
    """The usual soft limit, 1,024, is that of programs which use select(); we don't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has one more limit, which it does not tell
            return


def _keep_large_blocks_apart() -> None:
    """Have each block of a megabyte or more mapped by itself, as glibc does until it has
    freed one.

    LMDB holds 3 MB in such blocks for each partition and touches next to nothing of them. Cut from
    memory that was used before they have to be cleared, and are resident: 2 MB a partition.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


def too_few_files(partitions: int) -> str | None:
    """What to change where a process could not own that many partitions; None: nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = partitions * FILES_PER_PARTITION + FILES_BESIDE
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return None
    return (
        f"a process may open {hard} files, and one that owns all {partitions} partitions needs "
        f"{needed}; raise the hard limit (ulimit -Hn, LimitNOFILE=) to {needed} or more"
    )

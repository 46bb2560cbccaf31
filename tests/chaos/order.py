"""The order of the writes to each Task: as they were sent, and as the org applied them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from processor.sandbox.demo.judge import CODE_FIELD, VERSION_FIELD
from processor.sandbox.org.server import SandboxOrg, Write


class AsSent:
    """An org whose writes are in the order in which their requests came, not were applied."""

    def __init__(self, org: SandboxOrg) -> None:
        self._org = org

    def task(self, task_id: str) -> dict[str, object]:
        return self._org.task(task_id)

    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]:
        return sorted(self._org.writes(after, limit), key=arrival)


def longest_backwards_s(writes: Iterable[Write]) -> float:
    """For how long, at the longest, a Task showed something older than before (s), because the
    org applied a request late. Fails where that was not repaired.
    """
    by_task: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_task[write.task_id].append(write)
    return max(map(backwards_s, by_task.values()), default=0.0)


def backwards_s(applied: Sequence[Write]) -> float:
    """For how long a Task showed something older than it had shown before, at the longest."""
    longest, since_ms, newest = 0, None, applied[0]
    for write in applied[1:]:
        if older(write, newest):
            since_ms = write.time_ms if since_ms is None else since_ms
            continue
        if since_ms is not None:
            longest, since_ms = max(longest, write.time_ms - since_ms), None
        newest = write
    assert since_ms is None, f"never repaired: {told(applied)}"
    return longest / 1000


def older(one: Write, other: Write) -> bool:
    return version(one) < version(other)


def version(write: Write) -> float:
    found = write.fields[VERSION_FIELD]
    assert isinstance(found, int | float)
    return found


def arrival(write: Write) -> int:
    """The place of its request in the order in which requests came to the org."""
    found = re.match(r"req-(\d+)", write.request_id)
    assert found is not None
    return int(found[1])


def told(writes: Iterable[Write]) -> list[tuple[float, object, str, int]]:
    return [(version(w), w.fields[CODE_FIELD], w.request_id, w.time_ms) for w in writes]

"""Whether what we hold is surely ours: the lease (docs/design.md, I6), and what proves it.

A member that was expelled while its process was stopped goes on polling for a moment before it
hears of it. So a poll proves nothing after a stop. A committed transaction with a partition's
position does: the broker has taken it from the current generation. Until that proof, nothing of
the partition is handed to Salesforce.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Ownership:
    """Asked by the Salesforce writer's threads (`holds`), told by the worker's."""

    def __init__(self, lease_s: float, now_s: float) -> None:
        self.polled_s = now_s
        self._lease_s = lease_s
        self._unproven: set[int] = set()
        self._was_stopped = False

    def polled(self, running: Collection[int], now_s: float) -> None:
        """A poll has returned. After a stop, all partitions have to be proven anew."""
        if now_s - self.polled_s >= self._lease_s:
            self._unproven.update(running)
            self._was_stopped = bool(running)
        self.polled_s = now_s  # last: until here a stopped process has no lease

    def took_over(self, partition: int) -> None:
        """Restored. What was read may be the work of an owner who came after us."""
        self._unproven.add(partition)

    def proven(self, partitions: Iterable[int]) -> None:
        """A transaction with the positions of these was committed."""
        self._unproven.difference_update(partitions)
        self._was_stopped = self._was_stopped and bool(self._unproven)

    def forget(self, partition: int) -> None:
        """No longer ours."""
        self.proven((partition,))

    def unproven(self) -> frozenset[int]:
        return frozenset(self._unproven)

    def holds(self, now_s: float) -> bool:
        """Whether a request may be sent to Salesforce now."""
        return not self._was_stopped and now_s - self.polled_s < self._lease_s

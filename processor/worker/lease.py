"""Whether what we hold is surely ours: the lease (docs/design.md, I6), and what proves it.

A member that was expelled goes on polling before it hears of it: for a moment after its process
was stopped, and for as long as it is cut off from Kafka. So a poll proves nothing. A committed
transaction with a partition's position does: the broker has taken it from the current generation.
The proof wears off, and is renewed while anything of the partition is owed. Without one, nothing
of it is handed or sent to Salesforce.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from processor.ports import Clock
from processor.worker.claim import Claim

RENEWED_AFTER: Final = 1 / 3  # of the lease: the rest is for a transaction that takes long


class Ownership:
    """Asked by the Salesforce writer's threads (`holds`), told by the worker's."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._proven_s: dict[int, float] = {}

    def proven(self, partitions: Iterable[int], began_s: float) -> None:
        """A transaction with the positions of these, which began then, was committed."""
        self._proven_s.update(dict.fromkeys(partitions, began_s))

    def forget(self, partition: int) -> None:
        """No longer ours."""
        self._proven_s.pop(partition, None)

    def held(self, partitions: Iterable[int], now_s: float) -> set[int]:
        """Those of which rows may be handed over."""
        return {p for p in partitions if self.holds((p,), now_s)}

    def holds(self, partitions: Iterable[int], now_s: float) -> bool:
        """Whether a request with rows of these may be sent to Salesforce now."""
        return all(self._age_s(p, now_s) < self._lease_s for p in partitions)

    def to_renew(self, partitions: Collection[int], now_s: float) -> set[int]:
        """Those that a transaction should prove before long, an empty one if need be."""
        return {p for p in partitions if self._age_s(p, now_s) >= self._lease_s * RENEWED_AFTER}

    def _age_s(self, partition: int, now_s: float) -> float:
        return now_s - self._proven_s.get(partition, float("-inf"))


class Lease:
    """What the worker and the Salesforce writer share: the worker proves it, and the writer's
    threads ask it before each request (`ports.Lease`). Thread-safe.
    """

    def __init__(self, ownership: Ownership, clock: Clock, claim: Claim) -> None:
        self._ownership, self._clock, self._claim = ownership, clock, claim

    def holds(self, partitions: Iterable[int]) -> bool:
        """Whether a request with rows of these may be sent now: they are surely ours, and so is
        the status topic.
        """
        return self._ownership.holds(partitions, self._clock.monotonic_s()) and self._claim.holds()

    def proven(self, partitions: Iterable[int], began_s: float) -> None:
        """See `Ownership`."""
        self._ownership.proven(partitions, began_s)

    def forget(self, partition: int) -> None:
        """See `Ownership`."""
        self._ownership.forget(partition)

    def held(self, partitions: Iterable[int]) -> set[int]:
        """Those of which rows may be handed over."""
        return self._ownership.held(partitions, self._clock.monotonic_s())

    def to_renew(self, partitions: Collection[int]) -> set[int]:
        """Those that a transaction should prove before long, an empty one if need be."""
        return self._ownership.to_renew(partitions, self._clock.monotonic_s())

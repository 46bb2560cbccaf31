"""All that the worker knows of one assigned partition, until it is given up.

    assigned -> restoring -> running -> revoked, or lost
                    ^           |
                    '-----------'  its local store has failed

Nothing of a partition is kept elsewhere, so giving it up is to drop one object; what comes for it
afterwards finds nobody. (What proves it ours is the lease, which other threads ask.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.core.settle import flush_due
from processor.ports import Position
from processor.worker.restoration import Restoration
from processor.worker.settlements import Settlements
from processor.worker.throttle import Throttle

NOWHERE: Final = Position(-1, 0)


class Partition:
    """`position`: the end of the last committed batch. `held_until_s`: nothing more of it is read
    until then (as `Clock.monotonic_s`). `drained`: it was read to its end at least once.
    """

    def __init__(
        self, restoration: Restoration, rules: Rules, breaker: BreakerRules | None
    ) -> None:
        self.number = restoration.partition
        self.restoration: Restoration | None = restoration
        self.position = NOWHERE
        self.held_until_s: float | None = None
        self.drained = False
        self.settlements = Settlements(rules)
        self.throttle = Throttle(self.number, breaker)

    @property
    def running(self) -> bool:
        """Whether it is restored, and its records are read."""
        return self.restoration is None

    def run(self, position: Position) -> None:
        """The restoration is done: reading begins at this position."""
        self.restoration = None
        self.position = position

    def close(self) -> None:
        """It is given up."""
        if self.restoration is not None:
            self.restoration.close()


class Assignment(dict[int, Partition]):
    """The partitions that are ours, by number."""

    def running(self) -> list[Partition]:
        return [partition for partition in self.values() if partition.running]

    def restoring(self) -> list[Restoration]:
        return [known.restoration for known in self.values() if known.restoration is not None]

    def running_numbers(self) -> list[int]:
        return [partition.number for partition in self.values() if partition.running]

    def which_run(self, numbers: Iterable[int]) -> list[Partition]:
        """Those of these partitions that are ours, and run."""
        return [
            known for number in numbers if (known := self.get(number)) is not None and known.running
        ]

    def flush_due(self, now: int, interval_ms: int, most_rows: int) -> bool:
        """Whether settlements are published without waiting for their messages' next events."""
        waiting = [partition.settlements for partition in self.values() if partition.settlements]
        return flush_due(
            sum(map(len, waiting)),
            min((some.oldest_at for some in waiting if some.oldest_at is not None), default=now),
            now,
            interval_ms,
            most_rows,
            urgent=any(some.urgent for some in waiting),
        )

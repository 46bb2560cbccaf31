"""Reads the running partitions, and reads them again from where they were committed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from processor.ports import Clock, Position, RawRecord, Source
from processor.worker.partition import Assignment, Partition


class Reader:
    """A batch is larger while catching up: more updates of a message collapse in it."""

    def __init__(
        self,
        source: Source,
        clock: Clock,
        assignment: Assignment,
        batch_records: int,
        catch_up_records: int,
    ) -> None:
        self._source, self._clock, self._assignment = source, clock, assignment
        self._batch_records, self._catch_up_records = batch_records, catch_up_records
        self._catching_up = False

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[RawRecord]]:
        """The next records, by partition. Runs the rebalance callbacks."""
        self._resume(self._clock.monotonic_s())
        size = self._catch_up_records if self._catching_up else self._batch_records
        records = self._source.poll(size, timeout_s)
        self._catching_up = sum(map(len, records.values())) >= size
        return records

    def start(self, partition: Partition, position: Position) -> None:
        """Read a restored partition from where its last owner has committed."""
        partition.run(position)
        self._source.start(partition.number, position.offset)

    def rewind(self, partitions: Collection[Partition], wait_s: float = 0.0) -> None:
        """Read again from where the last committed batch ended, after a while.

        Only what was taken out may be put back: a partition of which nothing was read must not
        be among them, since the source may be about to hand out its records.
        """
        for partition in partitions:
            self._source.start(partition.number, partition.position.offset)
        if wait_s > 0:
            self.hold(self._assignment.running(), self._clock.monotonic_s() + wait_s)
        held = [p.number for p in partitions if p.held_until_s is not None]
        if held:  # to start one is to resume it
            self._source.pause(held)

    def hold(self, partitions: Collection[Partition], until_s: float) -> None:
        """Read nothing more of these until then (as `Clock.monotonic_s`)."""
        for partition in partitions:
            partition.held_until_s = max(until_s, partition.held_until_s or until_s)
        self._source.pause([partition.number for partition in partitions])

    def drained(self) -> bool:
        """Whether each running partition has been read to its end at least once."""
        running = self._assignment.running()
        for partition in running:
            partition.drained = partition.drained or self._source.at_end(partition.number)
        return all(partition.drained for partition in running)

    def _resume(self, now_s: float) -> None:
        over = [
            partition
            for partition in self._assignment.values()
            if partition.held_until_s is not None and now_s >= partition.held_until_s
        ]
        for partition in over:
            partition.held_until_s = None
        if over:
            self._source.resume([partition.number for partition in over])

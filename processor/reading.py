"""Where each running partition has been read to, and reading it again from there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from processor.ports import Clock, Position, RawRecord, Source


class Reading:
    """The source, with the positions up to which its records have been committed.

    A batch is larger while catching up: more updates of a message collapse in it.
    """

    def __init__(
        self, source: Source, clock: Clock, batch_records: int, catch_up_records: int
    ) -> None:
        self.positions: dict[int, Position] = {}
        self._source, self._clock = source, clock
        self._batch_records, self._catch_up_records = batch_records, catch_up_records
        self._catching_up = False
        self._paused_until_s: float | None = None
        self._drained: set[int] = set()

    def poll(self, timeout_s: float) -> Sequence[RawRecord]:
        """The next records. Runs the rebalance callbacks."""
        if self._paused_until_s is not None and self._clock.monotonic_s() >= self._paused_until_s:
            self._paused_until_s = None
            self._source.resume(list(self.positions))
        size = self._catch_up_records if self._catching_up else self._batch_records
        records = self._source.poll(size, timeout_s)
        self._catching_up = len(records) >= size
        return records

    def start(self, partition: int, position: Position) -> None:
        """Read a restored partition from where its last owner has committed."""
        self.positions[partition] = position
        self._source.start(partition, position.offset)

    def committed(self, positions: Mapping[int, Position]) -> None:
        """A transaction with these positions was committed."""
        self.positions.update(positions)

    def rewind(self, partitions: Collection[int], wait_s: float = 0.0) -> None:
        """Read again from where the last committed batch ended, after a while.

        Only what was taken out may be put back: a partition of which nothing was read must not
        be among them, since the source may be about to hand out its records.
        """
        for partition in partitions:
            if partition in self.positions:
                self._source.start(partition, self.positions[partition].offset)
        if wait_s > 0:
            self._source.pause(list(self.positions))
            self._paused_until_s = self._clock.monotonic_s() + wait_s

    def forget(self, partition: int) -> None:
        """The partition is no longer ours."""
        self.positions.pop(partition, None)
        self._drained.discard(partition)

    def drained(self) -> bool:
        """Whether each running partition has been read to its end at least once."""
        self._drained.update(p for p in self.positions if self._source.at_end(p))
        return self._drained >= self.positions.keys()

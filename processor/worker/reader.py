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
        self._held_until_s: dict[int, float] = {}
        self._drained: set[int] = set()

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[RawRecord]]:
        """The next records, by partition. Runs the rebalance callbacks."""
        if self._held_until_s:
            self._let_go(self._clock.monotonic_s())
        size = self._catch_up_records if self._catching_up else self._batch_records
        records = self._source.poll(size, timeout_s)
        self._catching_up = sum(map(len, records.values())) >= size
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
        mine = [partition for partition in partitions if partition in self.positions]
        for partition in mine:
            self._source.start(partition, self.positions[partition].offset)
        if wait_s > 0:
            self.hold(self.positions, self._clock.monotonic_s() + wait_s)
        if held := self._held_until_s.keys() & mine:  # to start one is to resume it
            self._source.pause(held)

    def hold(self, partitions: Collection[int], until_s: float) -> None:
        """Read nothing more of these until then (as `Clock.monotonic_s`)."""
        for partition in partitions:
            self._held_until_s[partition] = max(until_s, self._held_until_s.get(partition, until_s))
        self._source.pause(list(partitions))

    def _let_go(self, now_s: float) -> None:
        over = [partition for partition, until in self._held_until_s.items() if now_s >= until]
        if over:
            self._source.resume(over)
        for partition in over:
            del self._held_until_s[partition]

    def forget(self, partition: int) -> None:
        """The partition is no longer ours."""
        self.positions.pop(partition, None)
        self._held_until_s.pop(partition, None)
        self._drained.discard(partition)

    def drained(self) -> bool:
        """Whether each running partition has been read to its end at least once."""
        self._drained.update(p for p in self.positions if self._source.at_end(p))
        return self._drained >= self.positions.keys()

"""Partitions full of garbage beside healthy ones: who is read how fast, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

import pytest

from processor.core.breaker import BreakerRules
from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from processor.ports import Position, RawRecord, Source
from processor.worker.partition import Assignment, Partition
from processor.worker.reader import Reader
from tests.support.clocks import HandTurnedClock
from tests.support.partitions import restoring
from tests.support.rules import RULES

EVENT = DeliveryEvent("m", 200, 1, 0, "T", None)
TURN_S = 0.5
FETCHED = 500


class Record(NamedTuple):
    number: int
    place: int
    why: str

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.place


class Topic:
    """What `Reader` asks of a source. Hands out everything of the partitions that are started."""

    def __init__(self, partitions: Sequence[str]) -> None:
        """Of each partition, an event a letter: `g` is good, any other one a reason."""
        self.partitions = partitions
        self.next: dict[int, int] = {}
        self.paused: set[int] = set()
        self.handed_out = 0

    def poll(self, _max_records: int, _timeout_s: float) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for number, next_offset in self.next.items():
            if number not in self.paused:
                some = self.partitions[number][next_offset : next_offset + FETCHED]
                if some:
                    found[number] = [
                        Record(number, next_offset + i, why) for i, why in enumerate(some)
                    ]
                self.next[number] += len(some)
                self.handed_out += len(some)
        return found

    def start(self, partition: int, offset: int) -> None:
        self.next[partition] = offset
        self.paused.discard(partition)

    def pause(self, partitions: Collection[int]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Collection[int]) -> None:
        self.paused.difference_update(partitions)


class Bench:
    """The part of the worker's cycle that reads and judges."""

    def __init__(self, *partitions: str, rules: BreakerRules | None = BreakerRules()) -> None:  # noqa: B008 - a value
        self.clock = HandTurnedClock()
        self.topic = Topic(partitions)
        self.rules = rules
        self.assignment = Assignment()
        source = cast("Source", self.topic)
        self.reader = Reader(source, self.clock, self.assignment, 10_000, 10_000)
        self.done: list[list[int]] = [[] for _ in partitions]
        for number in range(len(partitions)):
            self.assign(number)

    def assign(self, number: int) -> None:
        """Anew, and read it from where it was read to."""
        partition = self.assignment[number] = restoring(number, RULES, self.rules)
        self.reader.start(partition, Position(len(self.done[number]), 0))

    def slowed(self) -> list[int]:
        return [p.number for p in self.assignment.values() if p.throttle.is_open]

    def turn(self, seconds: float, *, commits: bool = True) -> None:
        end_s = self.clock.seconds + seconds
        while self.clock.seconds < end_s:
            self._cycle(commits)
            self.clock.seconds += TURN_S

    def _cycle(self, commits: bool) -> None:
        batches = {p: [*batch] for p, batch in self.reader.poll(TURN_S).items()}
        for number, batch in batches.items():
            partition = self.assignment[number]
            partition.throttle.admit(batch, self.clock.seconds)
            events: list[DeliveryEvent | Rejection] = [
                EVENT if r.why == "g" else Rejection(r.why) for r in cast("list[Record]", batch)
            ]
            partition.throttle.judge(batch, events)
            if commits:
                self._commit(partition, batch)
            else:
                self.reader.rewind([partition])

    def _commit(self, partition: Partition, batch: list[RawRecord]) -> None:
        self.done[partition.number] += [record.offset() or 0 for record in batch]
        if batch:
            partition.position = Position((batch[-1].offset() or 0) + 1, 0)
        again_at_s = partition.throttle.committed(self.clock.seconds)
        if again_at_s is not None:
            self.reader.rewind([partition])
            self.reader.hold([partition], again_at_s)

    def counts(self) -> list[int]:
        for places in self.done:
            assert places == list(range(len(places)))  # each once, in order
        return [len(places) for places in self.done]


def test_a_burst_of_garbage_is_read_slowly_and_then_all_is_read() -> None:
    bench = Bench("g" * 300 + "b" * 1_100 + "g" * 300)
    bench.turn(60)
    assert bench.slowed() == [0]
    assert 690 <= bench.counts()[0] <= 710  # 300 good, 301 until it opens, and a minute's hundred
    bench.turn(8 * 60)
    assert bench.slowed() == []
    assert bench.counts() == [1_700]


def test_a_partition_of_garbage_does_not_slow_the_others_down() -> None:
    bench = Bench("b" * 5_000, "g" * 5_000)
    bench.turn(10)
    assert bench.counts() == [110, 5_000]
    assert bench.slowed() == [0]


def test_what_is_read_in_vain_is_bounded() -> None:
    bench = Bench("b" * 5_000)
    bench.turn(600)
    assert bench.counts() == [1_090]
    assert bench.topic.handed_out <= 100 * FETCHED  # one fetch a slot


@pytest.mark.parametrize(("per_minute", "read"), [(10, 199), (1_000, 10_000), (100_000, 50_000)])
def test_the_pace_can_be_set(per_minute: int, read: int) -> None:
    bench = Bench("b" * 50_000, rules=BreakerRules(events_per_minute=per_minute))
    bench.turn(599)
    assert bench.counts()[0] == pytest.approx(read, rel=0.02)


def test_it_can_be_turned_off() -> None:
    bench = Bench("b" * 5_000, rules=None)
    bench.turn(10)
    assert bench.counts() == [5_000]
    assert bench.slowed() == []


def test_a_batch_that_is_not_committed_counts_for_nothing() -> None:
    bench = Bench("b" * 99 + "g" * 500)
    bench.turn(10, commits=False)
    bench.turn(10)
    assert bench.slowed() == []
    assert bench.counts() == [599]


def test_a_partition_that_is_given_away_is_judged_anew() -> None:
    bench = Bench("b" * 5_000)
    bench.turn(1)
    assert bench.slowed() == [0]
    bench.assign(0)
    assert bench.slowed() == []
    bench.turn(1)
    assert bench.counts() == [200]


def test_a_line_names_the_partition_offset_reasons_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench("g" * 20 + "b" * 200 + "g" * 300, "c" * 200 + "g" * 300, "g" * 9)
    bench.turn(1)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    names = ("partition", "first_offset", "reasons", "events_per_minute")
    assert [tuple(vars(record)[name] for name in names) for record in errors] == [
        (0, 20, {"b": 100}, 100),
        (1, 0, {"c": 100}, 100),
    ]
    assert "PROCESSOR_BREAKER__ENABLED=false" in errors[0].getMessage()
    bench.turn(600)
    told = caplog.records[2:]
    assert all("at full speed again" in record.getMessage() for record in told)
    assert sorted(vars(record)["partition"] for record in told) == [0, 1]

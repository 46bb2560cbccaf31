"""A restoration whose store fails: how often it is tried, what is kept, who is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from processor.errors import StoreBlocked, StoreFailed
from processor.ports import Loaded
from processor.worker.claim import Claim
from processor.worker.restoration import (
    LONGEST_WAIT_S,
    TELL_BLOCKED_EVERY_S,
    Restoration,
    Restorations,
)
from tests.support.clocks import HandTurnedClock
from tests.support.log_lines import line_of
from tests.support.memory_store import MemoryStore
from tests.support.rules import RULES
from tests.support.states import settled
from tests.support.status_log import StatusLog

HOUR_S = 3_600
TURN_S = 0.5


class FailingStore(MemoryStore):
    """Fails each load of the partitions, and each wipe too if it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[int, StoreFailed] = {}
        self.wipes_fail = False
        self.loads: list[int] = []
        self.wipes: list[int] = []

    def load(
        self,
        partition: int,
        changes: Loaded,
        checkpoint: int,
        as_of_ms: int | None = None,
        mark: str = "",
    ) -> None:
        self.loads.append(partition)
        if partition in self.fails:
            raise self.fails[partition]
        super().load(partition, changes, checkpoint, mark=mark)

    def wipe(self, partition: int) -> None:
        if self.wipes_fail:
            raise StoreBlocked("local store, wipe: Read-only file system", partition)
        self.wipes.append(partition)
        super().wipe(partition)


class Bench:
    def __init__(self, *partitions: int) -> None:
        self.clock = HandTurnedClock()
        self.store = FailingStore()
        self.log = StatusLog([settled("m1"), settled("m2")])
        self.restorations = Restorations()
        self.assigned: dict[int, Restoration] = {}
        self.running: list[int] = []
        for partition in partitions:
            self.begin(partition)

    def begin(self, partition: int, *, wipe: bool = False) -> None:
        log: Any = self.log
        claim = Claim("group", "statuses", "events")
        self.assigned[partition] = Restoration(
            partition, log, log, self.store, self.clock, RULES, claim, wipe=wipe
        )

    def blocked(self) -> int:
        return sum(restoration.blocked is not None for restoration in self.assigned.values())

    def wait_s(self) -> float:
        return self.restorations.wait_s(self.assigned.values(), self.clock.seconds)

    def step(self) -> None:
        for done, _ in self.restorations.step(self.assigned.values(), self.clock.seconds):
            self.running.append(done.partition)
            del self.assigned[done.partition]

    def turn(self, seconds: float) -> None:
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            self.step()
            self.clock.seconds += max(TURN_S, self.wait_s())


def blocked(partition: int) -> StoreBlocked:
    return StoreBlocked("local store, write: the disk of STATE__DIR is full", partition)


def test_a_store_that_the_machine_blocks_is_kept_and_tried_ever_less_often() -> None:
    bench = Bench(0)
    bench.store.fails[0] = blocked(0)
    bench.turn(HOUR_S)
    assert bench.store.wipes == []
    assert HOUR_S / LONGEST_WAIT_S * 0.9 <= len(bench.store.loads) <= HOUR_S / LONGEST_WAIT_S + 10
    assert (bench.blocked(), bench.running) == (1, [])
    assert "the disk of STATE__DIR is full" in str(bench.assigned[0].blocked)


def test_it_goes_on_by_itself_when_there_is_room_again() -> None:
    bench = Bench(0)
    bench.store.fails[0] = blocked(0)
    bench.turn(HOUR_S)
    bench.store.fails.clear()
    bench.turn(LONGEST_WAIT_S + 2 * TURN_S)
    assert bench.running == [0]
    assert bench.assigned == {}
    assert set(bench.store.get_many(0, ["m1", "m2"])) == {"m1", "m2"}


def test_a_damaged_store_is_wiped_at_once_and_not_in_a_loop() -> None:
    bench = Bench(0)
    bench.store.fails[0] = StoreFailed("a value of the local store is corrupt", 0)
    bench.turn(TURN_S * 4)
    assert 1 <= len(bench.store.wipes) <= 3
    bench.turn(HOUR_S)
    assert len(bench.store.wipes) <= HOUR_S / LONGEST_WAIT_S + 10
    assert bench.blocked() == 0


def test_a_store_that_fails_whenever_it_runs_is_not_taken_over_at_every_turn() -> None:
    bench = Bench(0)
    end = bench.clock.seconds + HOUR_S
    while bench.clock.seconds < end:
        bench.turn(TURN_S)
        if bench.running:
            bench.running.clear()
            bench.begin(0)
            bench.restorations.failed(bench.assigned[0], blocked(0), bench.clock.seconds)
    assert 10 < len(bench.store.loads) <= HOUR_S / LONGEST_WAIT_S + 10


def test_a_wipe_that_fails_is_made_up_for() -> None:
    bench = Bench()
    bench.store.wipes_fail = True
    bench.begin(0, wipe=True)
    bench.turn(10)
    assert (bench.store.wipes, bench.store.loads, bench.blocked()) == ([], [], 1)
    bench.store.wipes_fail = False
    bench.turn(LONGEST_WAIT_S)
    assert (bench.store.wipes, bench.running) == ([0], [0])


def test_a_blocked_partition_holds_no_other_one_up() -> None:
    bench = Bench(0, 1, 2)
    bench.store.fails[1] = blocked(1)
    bench.turn(5)
    assert sorted(bench.running) == [0, 2]


def test_many_blocked_partitions_are_one_error_line_every_so_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(*range(100))
    bench.store.fails = {partition: blocked(partition) for partition in range(100)}
    with caplog.at_level(logging.ERROR):
        bench.turn(HOUR_S)
    lines = [line_of(record) for record in caplog.records]
    assert 1 <= len(lines) <= HOUR_S / TELL_BLOCKED_EVERY_S + 1
    assert "the disk of STATE__DIR is full" in lines[0]
    assert "partitions=[0,1,2," in lines[-1]


def test_each_blocked_partition_has_a_line_of_its_own_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(*range(3))
    bench.store.fails = {partition: blocked(partition) for partition in (0, 2)}
    bench.turn(HOUR_S)
    told = [record for record in caplog.records if "partition waits" in record.getMessage()]
    assert [vars(record)["partition"] for record in told] == [0, 2]


def test_the_loop_may_wait_while_nothing_can_be_done() -> None:
    bench = Bench(0)
    assert bench.wait_s() == 0
    bench.store.fails[0] = blocked(0)
    bench.turn(HOUR_S)
    bench.step()
    assert 0 < bench.wait_s() <= LONGEST_WAIT_S
    bench.begin(1)
    assert bench.wait_s() == 0

"""Assigned partitions, without the parts that restore them."""

from __future__ import annotations

from typing import Any

from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.ports import Position
from processor.worker.partition import Assignment, Partition
from processor.worker.restoration import Restoration
from tests.support.clocks import HandTurnedClock


def restoring(number: int, rules: Rules, breaker: BreakerRules | None = None) -> Partition:
    nobody: Any = None
    clock = HandTurnedClock()
    restoration = Restoration(number, nobody, nobody, nobody, clock, rules, nobody)
    return Partition(restoration, rules, breaker)


def running(*partitions: Partition) -> Assignment:
    """They run, from their beginning."""
    for partition in partitions:
        partition.run(Position(0, 0))
    return Assignment({partition.number: partition for partition in partitions})

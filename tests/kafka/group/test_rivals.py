"""Two processes with one transactional id: they end up taking turns, and the operator is told."""

from __future__ import annotations

import logging
from random import Random

import pytest

from processor.kafka.group.rivals import LONGEST_WAIT_S, QUICK_S, Rivals
from tests.support.clocks import HandTurnedClock

NAME = "processor-0"
HOUR_S = 3_600.0


def fences(names: tuple[str | None, ...], seed: int) -> int:
    """How often in an hour, of processes that open a producer as soon as they may."""
    clock, rng = HandTurnedClock(), Random(seed)
    rivals = [Rivals(name, clock.monotonic_s, rng) for name in names]
    holder, times, end_s = 0, 0, clock.seconds + HOUR_S
    rivals[holder].opened()
    while clock.seconds < end_s:
        clock.seconds += 1.0
        for number, other in enumerate(rivals):
            if number != holder and not other.wait_s():
                rivals[holder].fenced()
                other.opened()
                holder, times = number, times + 1
                break
    return times


@pytest.mark.parametrize("seed", range(5))
def test_processes_that_fence_one_another_do_so_ever_less_often(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    times = fences((NAME, NAME), seed)
    assert HOUR_S / (1.5 * LONGEST_WAIT_S) <= times <= HOUR_S / (0.5 * LONGEST_WAIT_S) + 20
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert "another process uses the same PROCESSOR_KAFKA__TRANSACTIONAL_ID" in caplog.text
    assert {vars(record)["transactional_id"] for record in caplog.records} == {NAME}


def test_an_id_that_was_drawn_is_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    fences((None, None), 1)
    assert caplog.records == []


def test_once_is_no_reason_to_wait_and_neither_is_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandTurnedClock()
    rivals = Rivals(NAME, clock.monotonic_s, Random(1))
    for _ in range(20):
        rivals.opened()
        clock.seconds += QUICK_S
        rivals.fenced()
        assert rivals.wait_s() == 0
    assert caplog.records == []

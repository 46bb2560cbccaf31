"""Pauses, API usage, and the size of requests."""

from __future__ import annotations

from random import Random

import pytest

from processor.salesforce.budget import (
    CONCURRENT_PAUSE_S,
    DAILY_PAUSE_S,
    GROW_AFTER_S,
    MIN_ROWS_AFTER_LOCKS,
    OUTAGE_PAUSE_MAX_S,
    OUTAGE_PAUSE_MIN_S,
    REQUEST_TARGET_S,
    ApiUsage,
    Budget,
    Gate,
    RequestSize,
    parse_limit_info,
)
from processor.salesforce.verdicts import Pause


@pytest.mark.parametrize(
    ("header", "usage"),
    [
        ("api-usage=18/5000", ApiUsage(18, 5000)),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-app)", ApiUsage(25, 5000)),
        ("per-app-api-usage=17/250(appName=x); api-usage=25/5000", ApiUsage(25, 5000)),
        ("per-app-api-usage=17/250(appName=x)", None),
        ("api-usage=a/b", None),
        ("", None),
        (None, None),
    ],
)
def test_usage_is_read_from_the_header(header: str | None, usage: ApiUsage | None) -> None:
    assert parse_limit_info(header) == usage


def test_the_allocation_counts_as_spent_just_before_it_is() -> None:
    budget = Budget()
    spent = [budget.daily_spent]
    for used in (9_899, 9_900, 10_001):
        budget.seen(ApiUsage(used, 10_000))
        spent.append(budget.daily_spent)
    assert spent == [False, False, True, True]


def closed_gate(pause: Pause = Pause.OUTAGE, now_s: float = 0.0) -> Gate:
    gate = Gate(Random(1))
    ticket = gate.admit(now_s)
    assert ticket is not None
    gate.failed(ticket, pause, now_s)
    return gate


def test_an_open_gate_lets_many_in() -> None:
    gate = Gate(Random(1))
    assert [gate.admit(0.0), gate.admit(0.0)] == [0, 0]
    assert gate.is_open


def test_after_a_pause_one_request_probes_and_then_all_may_go() -> None:
    gate = closed_gate()
    assert gate.admit(0.5) is None
    now_s = 10.0
    assert gate.closed_for_s(now_s) == 0.0
    probe = gate.admit(now_s)
    assert probe is not None
    states = [gate.is_open]
    assert gate.admit(now_s) is None, "one at a time"
    assert gate.passed(probe)
    states.append(gate.is_open)
    assert states == [False, True]
    assert gate.admit(now_s) is not None


def test_a_probe_that_was_not_sent_makes_way_for_another() -> None:
    gate = closed_gate()
    probe = gate.admit(10.0)
    assert probe is not None
    gate.unused(probe)
    assert not gate.is_open
    assert gate.admit(10.0) is not None


def test_pauses_of_an_outage_double_up_to_a_minute_and_start_anew_after_it() -> None:
    gate, now_s, pauses = Gate(Random(7)), 0.0, []
    for _ in range(12):
        ticket = gate.admit(now_s)
        assert ticket is not None
        pauses.append(gate.failed(ticket, Pause.OUTAGE, now_s))
        now_s += pauses[-1]
    assert all(OUTAGE_PAUSE_MIN_S <= pause <= OUTAGE_PAUSE_MAX_S for pause in pauses)
    assert all(0.8 * 2**n <= pause <= 1.2 * 2**n for n, pause in enumerate(pauses[1:6], start=1))
    assert min(pauses[6:]) >= 0.8 * OUTAGE_PAUSE_MAX_S
    ticket = gate.admit(now_s)
    assert ticket is not None
    gate.passed(ticket)
    ticket = gate.admit(now_s)
    assert ticket is not None
    assert gate.failed(ticket, Pause.OUTAGE, now_s) < 2 * OUTAGE_PAUSE_MIN_S


def test_requests_that_fail_together_are_one_failure() -> None:
    gate = Gate(Random(1))
    first, second = gate.admit(0.0), gate.admit(0.0)
    assert first is not None
    assert second is not None
    closed_s = gate.failed(first, Pause.OUTAGE, 0.0)
    assert gate.failed(second, Pause.OUTAGE, 0.1) == pytest.approx(closed_s - 0.1)


def test_a_request_from_before_the_pause_does_not_end_it() -> None:
    gate = Gate(Random(1))
    first, second = gate.admit(0.0), gate.admit(0.0)
    assert first is not None
    assert second is not None
    gate.failed(first, Pause.OUTAGE, 0.0)
    assert not gate.passed(second)
    assert gate.closed_for_s(0.1) > 0
    assert not gate.is_open


@pytest.mark.parametrize(
    ("pause", "length_s"),
    [(Pause.DAILY_LIMIT, DAILY_PAUSE_S), (Pause.CONCURRENT_LIMIT, CONCURRENT_PAUSE_S)],
)
def test_the_daily_limit_pauses_long_and_the_concurrent_one_short(
    pause: Pause, length_s: float
) -> None:
    gate = closed_gate(pause)
    assert 0.8 * length_s <= gate.closed_for_s(0.0) <= 1.2 * length_s


def test_a_limit_that_stays_is_treated_as_the_daily_one_in_the_end() -> None:
    gate, now_s, pause_s = Gate(Random(1)), 0.0, 0.0
    for _ in range(8):
        ticket = gate.admit(now_s)
        assert ticket is not None
        pause_s = gate.failed(ticket, Pause.CONCURRENT_LIMIT, now_s)
        now_s += pause_s
    assert pause_s >= 0.8 * DAILY_PAUSE_S


def test_a_limit_hit_during_an_outage_makes_the_pause_longer() -> None:
    gate = Gate(Random(1))
    first, second = gate.admit(0.0), gate.admit(0.0)
    assert first is not None
    assert second is not None
    gate.failed(first, Pause.OUTAGE, 0.0)
    assert gate.failed(second, Pause.DAILY_LIMIT, 0.0) >= 0.8 * DAILY_PAUSE_S


def test_requests_are_halved_by_locks_and_grow_back_within_the_hour() -> None:
    size, now_s, seen = RequestSize(), 100.0, []
    for _ in range(8):
        size.shrink(now_s)
        seen.append(size.rows(now_s))
        now_s += 10.0
    assert seen == [100, 50, 25, 12, 6, 6, 6, 6]
    assert seen[-1] == MIN_ROWS_AFTER_LOCKS
    now_s -= 10.0
    grown = [size.rows(now_s + n * GROW_AFTER_S) for n in range(1, 8)]
    assert grown == [12, 24, 48, 96, 192, 200, 200]


def test_locks_of_requests_in_flight_together_count_once() -> None:
    size = RequestSize()
    assert size.shrink(100.0)
    assert not size.shrink(101.0)
    assert size.rows(101.0) == 100


def test_the_first_request_is_a_plain_one_and_then_a_quick_org_gets_five_at_once() -> None:
    size = RequestSize()
    assert (size.rows(0.0), size.rows_of_all_parts(0.0)) == (200, 200)
    size.took(200, 0.5)
    assert (size.rows(0.0), size.rows_of_all_parts(0.0)) == (200, 1_000)


def test_requests_to_a_slow_org_stay_below_the_target_time() -> None:
    size = RequestSize()
    size.took(200, 5.0)  # 40 rows/s
    assert size.rows(0.0) == 200
    assert size.rows_of_all_parts(0.0) == 40 * REQUEST_TARGET_S
    size = RequestSize()
    size.took(200, 20.0)  # 10 rows/s
    assert size.rows(0.0) == size.rows_of_all_parts(0.0) == 10 * REQUEST_TARGET_S


def test_small_quick_requests_say_nothing_about_the_time_per_row() -> None:
    size = RequestSize()
    size.took(1, 0.3)
    assert size.rows(0.0) == 200

"""Pauses, API usage, and the size of requests."""

from __future__ import annotations

from random import Random

import pytest

from processor.salesforce.budget import (
    GROW_AFTER_S,
    MIN_ROWS_AFTER_LOCKS,
    PAUSES_S,
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


def budget_after(*answers: tuple[int, bool]) -> Budget:
    budget = Budget()
    for used, refused in answers:
        budget.seen(ApiUsage(used, 10_000), refused=refused)
    return budget


@pytest.mark.parametrize(
    ("answers", "spent"),
    [
        ([], False),
        ([(9_999, True)], False),
        ([(10_000, True)], True),
        ([(10_001, True)], True),
        # A paid org that lets us go on above its allocation: the refusal has another reason.
        ([(10_050, False), (10_051, True)], False),
        ([(10_050, False), (9_000, False), (10_000, True)], True),
    ],
)
def test_only_a_spent_allocation_makes_a_refusal_the_daily_limit(
    answers: list[tuple[int, bool]], *, spent: bool
) -> None:
    assert budget_after(*answers).daily_spent is spent


def test_a_refusal_that_does_not_tell_the_usage_is_not_judged_by_an_old_one() -> None:
    budget = budget_after((10_000, True))
    budget.seen(None, refused=False)
    assert budget.daily_spent
    budget.seen(None, refused=True)
    assert not budget.daily_spent


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


def failures(gate: Gate, pause: Pause, count: int, now_s: float = 0.0) -> list[float]:
    """The pauses after so many failures in a row, each found by the probe after the last one."""
    pauses = []
    for _ in range(count):
        ticket = gate.admit(now_s)
        assert ticket is not None
        pauses.append(gate.failed(ticket, pause, now_s))
        now_s += pauses[-1]
    return pauses


@pytest.mark.parametrize("pause", Pause)
def test_pauses_double_up_to_the_most_for_their_kind_and_start_anew_after_it(pause: Pause) -> None:
    first_s, most_s = PAUSES_S[pause]
    gate = Gate(Random(7))
    pauses = failures(gate, pause, 12)
    assert 0.8 * first_s <= pauses[0] <= first_s
    for number, length_s in enumerate(pauses):
        doubled_s = min(first_s * 2**number, most_s)
        assert 0.8 * doubled_s <= length_s <= doubled_s
    ticket = gate.admit(sum(pauses))
    assert ticket is not None
    gate.passed(ticket)
    assert failures(gate, pause, 1, sum(pauses))[0] <= first_s


@pytest.mark.parametrize("pause", Pause)
@pytest.mark.parametrize("before", Pause)
def test_a_fault_does_not_pay_for_the_length_of_another(pause: Pause, before: Pause) -> None:
    """Once a single 403 after a few resets paused the org for five minutes."""
    if pause is before:
        return
    gate = Gate(Random(7))
    now_s = sum(failures(gate, before, 9))
    assert failures(gate, pause, 1, now_s)[0] <= PAUSES_S[pause][0]


@pytest.mark.parametrize(
    ("pause", "logins_first"),
    [
        (Pause.OUTAGE, [False, True, True]),  # the second in a row: it may be a move
        (Pause.MOVED, [True, True, True]),
        (Pause.FAULT, [True, True, True]),
        (Pause.DAILY_LIMIT, [False, False, False]),
        (Pause.CONCURRENT_LIMIT, [False, False, False]),
    ],
)
def test_a_probe_logs_in_first_where_the_org_may_have_moved(
    pause: Pause, logins_first: list[bool]
) -> None:
    gate, now_s, seen = Gate(Random(1)), 0.0, []
    for _ in logins_first:
        now_s += failures(gate, pause, 1, now_s)[0]
        seen.append(gate.login_first)
        gate.login_first = False  # done
    assert seen == logins_first


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


def test_the_daily_limit_pauses_for_minutes_and_the_concurrent_one_for_seconds() -> None:
    assert closed_gate(Pause.DAILY_LIMIT).closed_for_s(0.0) >= 600.0
    assert closed_gate(Pause.CONCURRENT_LIMIT).closed_for_s(0.0) <= 2.0


def test_a_limit_hit_during_an_outage_makes_the_pause_longer() -> None:
    gate = Gate(Random(1))
    first, second = gate.admit(0.0), gate.admit(0.0)
    assert first is not None
    assert second is not None
    gate.failed(first, Pause.OUTAGE, 0.0)
    assert gate.failed(second, Pause.DAILY_LIMIT, 0.0) >= 600.0


def test_requests_are_halved_by_locks_and_grow_back_within_minutes() -> None:
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
    size.took(200, 2.5)  # 80 rows/s
    assert size.rows(0.0) == 200
    assert size.rows_of_all_parts(0.0) == 80 * REQUEST_TARGET_S
    size = RequestSize()
    size.took(200, 20.0)  # 10 rows/s
    assert size.rows(0.0) == size.rows_of_all_parts(0.0) == 10 * REQUEST_TARGET_S


def test_small_quick_requests_say_nothing_about_the_time_per_row() -> None:
    size = RequestSize()
    size.took(1, 0.3)
    assert size.rows(0.0) == 200

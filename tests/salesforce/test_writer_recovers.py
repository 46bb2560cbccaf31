"""After a fault is over: how long until the next good write? The table of docs/recovery.md.

Each fault lasts for minutes of a clock that a test turns, and ends at the worst moment: just after
a probe has failed. Then the same clock tells how long it takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from processor.core.settle import (
    STOP_RETRY_MS,
    Differs,
    Park,
    Reject,
    Retry,
    Settled,
    Stop,
    Unknown,
)
from processor.sandbox.org.server import Fault, FaultKind, OldHost, RequestKind, SandboxOrg
from tests.salesforce.writer_bench import Bench, owed, task_id, until
from tests.support.log_lines import text_of

TABLE = Path(__file__).parents[2] / "docs" / "recovery.md"
FAULT_S = 600.0  # so that pauses have grown to the longest of their kind
LONG_S = 7_200.0  # a fault that ends when the test says so
WRITE = RequestKind.COLLECTIONS_UPDATE
TOKEN = RequestKind.TOKEN
Deed = Callable[[SandboxOrg], object]


class Case(NamedTuple):
    """A row of the table. `name` is its first column; `within_s` its last."""

    name: str
    within_s: float
    begin: Deed
    end: Deed = SandboxOrg.clear_faults


def fault(kind: FaultKind, status: int = 503, request: RequestKind = WRITE) -> Deed:
    # Slower than any timeout, however busy the machine makes that.
    delay_s = 60.0 if kind is FaultKind.SLOW else 0.0
    injected = Fault(kind, duration_s=LONG_S, status=status, request=request, delay_s=delay_s)
    return lambda org: org.inject(injected)


def both(*deeds: Deed) -> Deed:
    def all_of_them(org: SandboxOrg) -> None:
        for deed in deeds:
            deed(org)

    return all_of_them


def use_up(org: SandboxOrg) -> None:
    org.set_limit(calls_max=1_000, used=1_000)


def give_back(org: SandboxOrg) -> None:
    org.set_limit(used=0)


CASES = [
    Case("connection reset", 65, fault(FaultKind.RESET_BEFORE)),
    Case("no connection", 65, SandboxOrg.stop, SandboxOrg.start),
    Case("no answer in time", 65, fault(FaultKind.SLOW)),
    Case("500 or 502", 65, fault(FaultKind.HTML, 500)),
    Case("503, with a code or a maintenance page", 65, fault(FaultKind.UNAVAILABLE)),
    Case("503, with a code or a maintenance page", 65, fault(FaultKind.HTML)),
    Case("200 with a page of HTML", 65, fault(FaultKind.HTML, 200)),
    Case("a redirect", 65, fault(FaultKind.HTML, 301)),
    Case("403 or 404 that is not the API's", 65, fault(FaultKind.HTML, 403)),
    Case("403 or 404 that is not the API's", 65, fault(FaultKind.HTML, 404)),
    Case(
        "session refused after each login",
        65,
        both(lambda org: org.set_scope("id"), SandboxOrg.expire_tokens),
        lambda org: org.set_scope("api"),
    ),
    Case(
        "login refused",
        65,
        both(fault(FaultKind.HTML, 404, TOKEN), SandboxOrg.expire_tokens),
    ),
    Case(
        "login not answered",
        65,
        both(fault(FaultKind.HTML, 503, TOKEN), SandboxOrg.expire_tokens),
    ),
    Case("too many requests at once", 35, fault(FaultKind.LIMIT)),
    Case("daily limit", 905, use_up, give_back),
]


class Ride:
    """One row that wants to be written, as the worker would hand it in."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.due_s = 0.0
        self.tries = 0
        self.written = False
        self.held = False

    def step(self) -> None:
        """Take a result, hand the row in, or turn the clock to when something can happen."""
        now_s = self.bench.clock.monotonic_s()
        for result in self.bench.writer.results():
            self.held = False
            match result.verdict:
                case Settled():
                    self.written = True
                case Retry(after_s) | Park(after_s):
                    self.due_s = now_s + after_s
                case Stop():
                    self.due_s = now_s + STOP_RETRY_MS / 1000
                case Unknown() | Differs() | Reject():
                    self.due_s = now_s
        if self.written:
            return
        pauses = self.bench.meter.pauses
        pause_s = pauses[-1] - self.bench.clock.now_ms() / 1000 if pauses else 0.0
        if pause_s > 0.0 and not self.held:
            self.bench.clock.skip(pause_s)
        elif self.bench.writer.room("default") and not self.held:
            self.bench.clock.skip(max(0.0, self.due_s - now_s))
            self.held = True
            self.tries += 1
            self.bench.writer.submit([owed(1, version=self.tries)])
        else:
            self.bench.writer.submit([])  # the threads look at the clock
            self.bench.writer.wait(0.002)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def is_so() -> bool:
            self.step()
            return condition()

        until(is_so, what)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with SandboxOrg() as org:
        org.add_tasks([task_id(1)])
        with Bench(org, timeout_s=0.3) as bench:
            yield bench.logged_in()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_next_good_write_comes_soon_after_a_fault_is_over(bench: Bench, case: Case) -> None:
    ride, clock = Ride(bench), bench.clock
    ride.until(lambda: ride.written, "written before the fault")
    began_s, ride.written = clock.monotonic_s(), False
    case.begin(bench.org)

    def has_failed_for_long() -> bool:
        told = len(bench.meter.pauses)
        if told == seen[0]:
            return False
        seen[0] = told
        return clock.monotonic_s() - began_s > FAULT_S

    seen = [0]
    ride.until(has_failed_for_long, "the fault has lasted, and a probe has just failed")
    case.end(bench.org)
    over_s, ride.written = clock.monotonic_s(), False
    ride.until(lambda: ride.written, "written after the fault")
    assert clock.monotonic_s() - over_s <= case.within_s


@pytest.mark.parametrize("old_host", OldHost)
def test_an_org_that_has_moved_is_found_by_a_new_login_within_seconds(
    bench: Bench, old_host: OldHost
) -> None:
    """Once a host that answered anything but 401 was asked for ever."""
    ride = Ride(bench)
    ride.until(lambda: ride.written, "written before the move")
    bench.org.move(old_host)
    began_s, ride.written = bench.clock.monotonic_s(), False
    ride.until(lambda: ride.written, "written after the move")
    assert bench.clock.monotonic_s() - began_s <= 10.0
    assert bench.org.stats()["logins"] == 2, "no more than it takes"


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FaultKind.HTML, 301), (FaultKind.HTML, 404), (FaultKind.RESET_BEFORE, 503)],
)
def test_a_probe_logs_in_once_at_most(bench: Bench, kind: FaultKind, status: int) -> None:
    bench.org.inject(Fault(kind, status=status, request=WRITE, duration_s=LONG_S))
    ride = Ride(bench)
    ride.until(lambda: len(bench.meter.pauses) >= 12, "a dozen probes")
    logins = bench.org.stats()["logins"]
    assert isinstance(logins, int)
    assert 10 <= logins <= bench.requests("collections_update") + 1


def test_a_login_without_the_scope_for_the_api_is_no_endless_loop(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.org.set_scope("id")
    bench.org.expire_tokens()
    ride = Ride(bench)
    ride.until(lambda: len(bench.meter.pauses) >= 8, "tried for minutes")
    logins = bench.org.stats()["logins"]
    assert isinstance(logins, int)
    assert logins <= 1 + 8
    assert {r.levelname for r in caplog.records if "paused" in r.getMessage()} == {"ERROR"}
    assert "OAuth scope 'Manage user data via APIs (api)'" in text_of(caplog.records)
    assert ride.written is False


def test_the_daily_limit_is_waited_for_when_it_is_met_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SandboxOrg() as org:
        use_up(org)
        with Bench(org) as bench:
            until(lambda: bench.meter.pauses, "paused")
            assert bench.meter.pauses[-1] > bench.clock.now_ms() / 1000 + 600
            assert "kind=daily_limit" in text_of(caplog.records)
            assert "1000 of 1000 API calls" in text_of(caplog.records)


def test_the_documented_table_is_the_tested_one() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|.*\| (\d+) s \|$", TABLE.read_text(), re.MULTILINE)
    tested = dict.fromkeys((case.name, f"{case.within_s:g}") for case in CASES)
    assert rows == [*tested, ("the org has moved to another host", "10")]

"""What is told of a committed plan."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from processor.core.events import Outcome, Settlement
from processor.core.plan import Plan
from processor.errors import Rejection
from processor.runtime.metrics import Metrics
from processor.worker.telemetry import (
    INTERVAL_MS,
    MOST_KINDS,
    CommitCounter,
    LogLimiter,
    StopReasons,
)
from tests.kafka.avro.avro_kit import Record
from tests.support.log_lines import line_of
from tests.support.states import NOW, state


def test_a_status_from_after_our_clock_took_no_time_and_never_less() -> None:
    """Negative seconds made the sum of all the others wrong, for good."""
    registry = CollectorRegistry()
    decided = Plan(
        settled=[
            (state("m", at=NOW + ahead), Settlement("m", 1, 220, NOW, Outcome.WRITTEN))
            for ahead in (90_000, -2_000)
        ]
    )
    CommitCounter(Metrics(registry)).count({0: []}, {0: decided}, NOW)
    name = "sms_processor_event_to_salesforce_seconds_sum"
    assert registry.get_sample_value(name, {"outcome": "written"}) == 2


class At(Record):
    """An event of which only the offset matters."""

    def offset(self) -> int | None:
        return self.time


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(r.levelname, line_of(r).partition('" ')[2]) for r in caplog.records]
    caplog.clear()
    return found


def test_dead_letters_are_told_at_once_and_then_once_a_minute_by_their_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There was no line at all of an event, and one for each row that was refused."""
    tally = CommitCounter(Metrics(CollectorRegistry()))
    batch = [At(None, offset) for offset in range(40, 50)]
    decided = Plan(
        rejected=[(2, Rejection("bad_magic", "0xff")), (3, Rejection("bad_magic", "0xfe"))],
        too_late=[(9, Rejection("too_late"))],
        refused=[(state("m"), Settlement("m", 1, 220, NOW, Outcome.REJECTED, "ENTITY_IS_DELETED"))]
        * 200,
    )
    for _ in range(4):
        tally.count({3: batch}, {3: decided}, NOW)
    assert lines(caplog) == [
        ("WARNING", "stage=decode reason=bad_magic partition=3 events=2 offset=42"),
        ("WARNING", "stage=collapse reason=too_late partition=3 events=1 offset=49"),
        ("ERROR", "stage=salesforce reason=ENTITY_IS_DELETED partition=3 rows=200"),
    ]
    tally.log(NOW + 59_999)
    assert lines(caplog) == []
    tally.log(NOW + 60_000)
    told = [re.search(r"(events|rows)=(\d+)", text) for _, text in lines(caplog)]
    assert [found and found[2] for found in told] == ["6", "3", "600"]
    tally.log(NOW + 180_000)
    assert lines(caplog) == []


def test_dead_letters_of_one_reason_are_told_of_each_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else the line of partition 3 would hide behind that of partition 0."""
    tally = CommitCounter(Metrics(CollectorRegistry()))
    batches = {partition: [At(None, 40)] for partition in (0, 3)}
    plans = {p: Plan(rejected=[(0, Rejection("bad_magic", "0xff"))]) for p in batches}
    tally.count(batches, plans, NOW)
    assert [vars(record)["partition"] for record in caplog.records] == [0, 3]


def test_rows_that_nobody_can_write_are_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """800 rows of 4 requests were 800 lines, all the same."""
    reasons = StopReasons()
    for _ in range(800):
        reasons.add("fix it")
    reasons.tell(NOW)
    assert lines(caplog) == [("ERROR", 'rows=800 why="fix it"')]


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 5), st.integers(0, 50_000))))
def test_what_is_said_rarely_is_all_said_and_never_twice_in_an_interval(
    steps: list[tuple[int, int, int]],
) -> None:
    limiter = LogLimiter[int, int](-1)
    now, added, told = NOW, 0, 0
    said: dict[int, int] = {}
    for kind, count, passed in steps:
        limiter.add(kind, kind, count)
        added, now = added + count, now + passed
        for what, number, _ in limiter.due(now):
            assert now - said.get(what, 0) >= INTERVAL_MS
            said[what], told = now, told + number
    assert told + sum(number for _, number, _ in limiter.due(now + INTERVAL_MS)) == added


def test_kinds_without_end_become_one() -> None:
    limiter = LogLimiter[int, None](-1)
    for kind in range(10 * MOST_KINDS):
        limiter.add(kind, None)
    said = list(limiter.due(NOW))
    assert len(said) == MOST_KINDS + 1
    assert said[-1] == (-1, 9 * MOST_KINDS, None)


def test_a_clock_that_was_set_back_keeps_nothing_from_being_said() -> None:
    limiter = LogLimiter[str, None]("other")
    limiter.add("a", None)
    assert list(limiter.due(NOW)) == [("a", 1, None)]
    limiter.add("a", None)
    assert list(limiter.due(NOW - 3_600_000)) == [("a", 1, None)]

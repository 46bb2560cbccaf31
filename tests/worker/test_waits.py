"""Waiting is told of now and then: for the group, and for rows that are to be read back."""

from __future__ import annotations

import logging

import pytest

from processor.ports import OwedCount
from processor.worker.telemetry import DOUBT_EVERY_S, IdleReasons
from tests.support.log_lines import line_of

NEXT_DUE_MS = 1_700_000_660_000


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_join_that_takes_long_is_told_every_quarter_of_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits = IdleReasons()
    for second in range(60):
        waits.joining(1_000.0 + second, joined=False)
    assert [vars(record)["for_s"] for record in caplog.records] == [5, 20, 35, 50]
    assert "waiting to be taken into the consumer group" in caplog.text
    assert "KAFKA__SESSION_TIMEOUT_S" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_a_join_that_takes_a_moment_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    waits = IdleReasons()
    for second in range(60):
        waits.joining(1_000.0 + second, joined=second % 5 > 0)
    assert caplog.records == []


def test_rows_in_doubt_are_told_with_the_time_at_which_the_next_is_read_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits = IdleReasons()
    for second in range(round(3 * DOUBT_EVERY_S)):
        waits.owing(1_000.0 + second, OwedCount(2, 1, in_doubt=3), NEXT_DUE_MS)
    assert len(caplog.records) == 3
    assert "rows=3 next_at=2023-11-14T22:24:20Z" in line_of(caplog.records[0])


@pytest.mark.parametrize(
    ("owed", "next_due_ms"),
    [
        (OwedCount(0, 0), None),
        (OwedCount(2, 1, in_doubt=2), NEXT_DUE_MS),
        (OwedCount(2, 1, in_doubt=3), None),
    ],
)
def test_what_is_being_written_is_no_wait(
    owed: OwedCount, next_due_ms: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    IdleReasons().owing(1_000.0, owed, next_due_ms)
    assert caplog.records == []

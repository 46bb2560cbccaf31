"""What Kafka's client complains of is told once, until Kafka answers again; errors every minute."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from processor.kafka.client import error_codes
from processor.kafka.client.error_log import ErrorLog
from tests.support.clocks import HandTurnedClock
from tests.support.log_lines import line_of

GONE = KafkaError(error_codes.TRANSPORT, "connection refused")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not yours")


def test_each_kind_of_trouble_is_told_once_until_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error_log = ErrorLog("read events")
    with caplog.at_level(logging.INFO):
        error_log.over()
        for _ in range(100):
            error_log.tell(GONE)
        error_log.tell(FORBIDDEN)
        error_log.over()
        error_log.over()
        error_log.tell(GONE)
    assert [(r.levelname, line_of(r).partition(" purpose=")[2]) for r in caplog.records] == [
        ("WARNING", '"read events" reason=_TRANSPORT why="connection refused"'),
        ("ERROR", '"read events" reason=TOPIC_AUTHORIZATION_FAILED why="not yours"'),
        ("INFO", '"read events"'),
        ("WARNING", '"read events" reason=_TRANSPORT why="connection refused"'),
    ]


def test_what_somebody_has_to_mend_is_told_again_every_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandTurnedClock()
    error_log = ErrorLog("read events", clock.monotonic_s)
    for _ in range(600):
        error_log.tell(FORBIDDEN)
        error_log.tell(GONE)
        clock.seconds += 1.0
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] + 9 * ["ERROR"]

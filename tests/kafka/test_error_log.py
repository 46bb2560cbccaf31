"""What Kafka's client complains of is told once, until Kafka answers again; errors every minute."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from processor.kafka.client import error_codes
from processor.kafka.client.error_log import Troubles
from tests.support.log_lines import line_of
from tests.support.status_log import HandTurnedClock

GONE = KafkaError(error_codes.TRANSPORT, "connection refused")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not yours")


def test_each_kind_of_trouble_is_told_once_until_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles("read events")
    with caplog.at_level(logging.INFO):
        troubles.over()
        for _ in range(100):
            troubles.tell(GONE)
        troubles.tell(FORBIDDEN)
        troubles.over()
        troubles.over()
        troubles.tell(GONE)
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
    troubles = Troubles("read events", clock.monotonic_s)
    for _ in range(600):
        troubles.tell(FORBIDDEN)
        troubles.tell(GONE)
        clock.seconds += 1.0
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] + 9 * ["ERROR"]

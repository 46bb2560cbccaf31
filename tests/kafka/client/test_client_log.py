"""What librdkafka logs is in our log, and is kept nowhere."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from processor.kafka.client.options import built, connection
from tests.support.patience import Patience

NOWHERE = connection("127.0.0.1:1", {"debug": "broker"})


def tells_details(caplog: pytest.LogCaptureFixture) -> bool:
    return any(record.levelno == logging.DEBUG for record in caplog.records)


@pytest.mark.parametrize("kind", ["consumer", "producer"])
def test_the_log_of_a_client_that_is_polled_is_in_ours_whatever_its_level(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    caplog.handler.setLevel(logging.NOTSET)  # as ours: only the root logger has a level
    limit = Patience(10)
    if kind == "consumer":
        consumer = built(Consumer, {**NOWHERE, "group.id": "g"})
        while not tells_details(caplog):
            assert not limit.is_over()
            consumer.consume(1, 0.1)
        consumer.close()
    else:
        producer = built(Producer, NOWHERE)
        while not tells_details(caplog):
            assert not limit.is_over()
            producer.poll(0.1)
    assert capfd.readouterr().err == ""


def test_an_admin_client_which_nobody_polls_keeps_no_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    admin = built(AdminClient, NOWHERE)
    (answer,) = admin.describe_topics(TopicCollection(["events"]), request_timeout=1).values()
    assert answer.exception() is not None
    admin.poll(0)  # would hand over what was kept
    assert caplog.records == []
    assert "127.0.0.1:1" in capfd.readouterr().err, "where librdkafka puts it by itself"

"""The bounds of partitions, after their leader has changed."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from processor.errors import Unavailable
from processor.kafka.group.offsets import LogEnds, Offsets
from tests.integration.kit import Broker
from tests.support.patience import Patience

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DEADLINE_S = 30.0


def test_a_leader_that_has_changed_is_asked_again(kafka: Broker) -> None:
    # The client kept the old leader's epoch: no restore ended after a broker was restarted, and
    # the lag stood still for ever.
    topic = f"led-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for created in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        created.result(30)
    offsets = Offsets(kafka.bootstrap_servers, {})
    ends = LogEnds(kafka.bootstrap_servers, {}, topic, time.monotonic)
    assert offsets.beginning(topic, 0) == 0
    ends.latest([0])
    kafka.restart()
    limit = Patience(DEADLINE_S)
    while True:
        try:
            assert offsets.beginning(topic, 0) == 0
            break
        except Unavailable:
            assert not limit.is_over()
            time.sleep(0.2)
    late = LogEnds(kafka.bootstrap_servers, {}, topic, lambda: time.monotonic() * 100)
    while late.latest([0]) != {0: 0}:
        assert not limit.is_over()
        time.sleep(0.1)

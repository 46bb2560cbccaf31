"""A broker whose answers come late: after what they were asked for has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from processor.ports import RawRecord
from processor.sandbox.servers.kafka import KafkaServer
from tests.chaos.proxy import Proxy
from tests.integration.kit import PATIENCE_S, Kafka, Member, until
from tests.support.patience import Patience

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

RECORDS, START = 100, 50
RETRY_S = 0.5  # librdkafka's, before it asks again where a partition begins


@pytest.fixture
def way(ways: dict[str, Proxy]) -> Iterator[Proxy]:
    yield ways["one"]
    ways["one"].heal()


def test_a_late_answer_to_where_a_partition_begins_delivers_nothing_twice(
    mortal_kafka: KafkaServer, way: Proxy
) -> None:
    """Seed 502 of the chaos: an event was a dead letter twice. Its partition was assigned while
    the broker was starting, and began anew half a second after it had been started.
    """
    cluster = Kafka(mortal_kafka.bootstrap_servers)
    names = cluster.topics(1)
    cluster.produce(names.events, 0, [b"event"] * RECORDS)
    reader = Member(way.address, names)
    reader.listener.on_assigned = lambda _: way.cut()
    found: list[RawRecord] = []

    def read_for(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found.extend(reader.poll(1_000, 0.05))

    def read_until(count: int) -> None:
        limit = Patience(PATIENCE_S)
        while len(found) < count:
            assert not limit.is_over(), f"{len(found)} records"
            read_for(0.05)

    try:
        until(lambda: reader.source.poll(10, 0.1) == {} and reader.owns(0))
        reader.source.start(0, START)
        read_for(RETRY_S)
        assert found == [], "the way is cut"
        way.heal()
        read_until(RECORDS - START)
        read_for(6 * RETRY_S)
        cluster.produce(names.events, 0, [b"event"] * 10)
        read_until(RECORDS - START + 10)
        read_for(2 * RETRY_S)
    finally:
        way.heal()
        reader.close()
    assert [record.offset() for record in found] == list(range(START, RECORDS + 10))

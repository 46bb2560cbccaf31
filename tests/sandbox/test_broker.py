"""The broker in this process, and what the demo relies on. See broker.py for what it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from processor.sandbox.servers.broker import (
    IN_PROCESS_PARTITION_BYTES,
    IN_PROCESS_PARTITIONS,
    InProcessBroker,
    TopicNames,
)
from processor.sandbox.traffic.generator import Report, Traffic
from processor.sandbox.traffic.producer import Encoders, TrafficProducer
from tests.support.patience import Patience, patient

TOPIC = "events"


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as running:
        running.create_topics(TopicNames(TOPIC, "statuses", "dead-letters"))
        yield running


def consumer(broker: InProcessBroker, group: str = "readers") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )


def read(client: Consumer, count: int, timeout_s: float = 20.0) -> list[Message]:
    messages: list[Message] = []
    limit = Patience(timeout_s)
    while len(messages) < count and not limit.is_over():
        messages += [m for m in client.consume(500, 0.2) if m.error() is None]
    return messages


def produce(broker: InProcessBroker, reports: list[Report]) -> None:
    producer = TrafficProducer(broker.bootstrap_servers, TOPIC, Encoders(TOPIC))
    for report in reports:
        producer.send(report)
    producer.flush()


def test_a_topic_has_four_partitions_once_it_was_asked_for(broker: InProcessBroker) -> None:
    client = consumer(broker)
    found = client.list_topics(timeout=patient(5)).topics
    client.close()
    assert {name: len(topic.partitions) for name, topic in found.items()} == dict.fromkeys(
        (TOPIC, "statuses", "dead-letters"), IN_PROCESS_PARTITIONS
    )
    assert broker.partitions == IN_PROCESS_PARTITIONS


def test_a_group_reads_every_report_with_its_key_and_its_time(broker: InProcessBroker) -> None:
    reports = list(Traffic(50, seed=3))
    produce(broker, reports)
    client = consumer(broker)
    client.subscribe([TOPIC])
    messages = read(client, len(reports))
    client.close()
    assert sorted(((m.key() or b"").decode(), m.timestamp()[1]) for m in messages) == sorted(
        (report.key, report.timestamp_ms) for report in reports
    )


def test_the_reports_of_a_message_stay_in_order_in_one_partition(broker: InProcessBroker) -> None:
    reports = list(Traffic(50, seed=3))
    produce(broker, reports)
    client = consumer(broker)
    client.subscribe([TOPIC])
    messages = read(client, len(reports))
    client.close()
    for key in {report.key for report in reports}:
        mine = [m for m in messages if m.key() == key.encode()]
        assert len({m.partition() for m in mine}) == 1
        assert [m.timestamp()[1] for m in mine] == [
            report.timestamp_ms for report in reports if report.key == key
        ]


def test_it_forgets_what_is_beyond_its_bound(broker: InProcessBroker) -> None:
    """Why the demo's producer must not run far ahead."""
    client = consumer(broker)
    size, count = 1_000, 6_000
    producer = TrafficProducer(broker.bootstrap_servers, TOPIC, Encoders(TOPIC))
    for _ in range(count):
        producer._producer.produce(TOPIC, value=b"x" * size, partition=0)
    producer.flush()
    low, high = client.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=patient(5))
    client.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    (first,) = read(client, 1)[:1]
    client.close()
    assert high == count
    assert first.offset() == low > 0
    assert (high - low) * size <= IN_PROCESS_PARTITION_BYTES


def test_the_backlog_that_it_allows_fits() -> None:
    reports = list(Traffic(500, seed=1))
    encoders = Encoders(TOPIC)
    mean = sum(len(encoders.value(r) or b"") + len(r.key) + 70 for r in reports) / len(reports)
    room = InProcessBroker.partitions * IN_PROCESS_PARTITION_BYTES
    assert InProcessBroker.backlog_max * mean < room * 0.75  # keys don't fall evenly

"""Fills the events topic from the traffic model."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import Future
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from processor.commands.produce.events import EventEncoder
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.sandbox.traffic.generator import Mix, Report, Traffic, spoiled

EVENTS_TOPIC: Final = "bench.events"
DEAD_LETTER_TOPIC: Final = "bench.dead-letters"
PARTITIONS: Final = 6
MESSAGES_PER_S: Final = 500.0  # in the model's time: how closely a message's reports lie together
UNHURRIED: Final = {"linger.ms": 50, "compression.type": "lz4", "batch.num.messages": 10_000}


def fill(servers: str, events: int, seed: int) -> Counter[str]:
    """Create the topics, and write at least so many events. What was written, by kind."""
    _create(servers, _topics())
    producer = Producer({"bootstrap.servers": servers, **UNHURRIED})
    text = schema_text("delivery_event.avsc")
    encoder = EventEncoder(text, single_object_prefix(text))
    fed: Counter[str] = Counter()
    messages: set[str] = set()
    traffic = Traffic(None, seed, mix=Mix(), messages_per_s=MESSAGES_PER_S)
    for report in itertools.islice(traffic, events):
        _send(producer, report, _value(encoder, report))
        fed["events"] += 1
        fed["poison"] += report.poison is not None
        messages.add(report.key)
    producer.flush()
    fed["messages"] = len(messages)
    return fed


def _value(encoder: EventEncoder, report: Report) -> bytes | None:
    encoded = encoder.encode(report.event)
    return encoded if report.poison is None else spoiled(report.poison, encoded)


def _send(producer: Producer, report: Report, value: bytes | None) -> None:
    while True:
        try:
            producer.produce(EVENTS_TOPIC, value, report.key, timestamp=report.timestamp_ms)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def create_status_topic(servers: str, name: str) -> None:
    """A run must find no statuses of an earlier one."""
    _create(servers, [NewTopic(name, PARTITIONS, 1, config={"cleanup.policy": "compact"})])


def _topics() -> list[NewTopic]:
    return [
        # The model's reports are old: the broker would delete them while we read.
        NewTopic(EVENTS_TOPIC, PARTITIONS, 1, config={"retention.ms": "-1"}),
        NewTopic(DEAD_LETTER_TOPIC, 1, 1, config={"retention.ms": "-1"}),
    ]


def _create(servers: str, topics: list[NewTopic]) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    futures: dict[str, Future[None]] = admin.create_topics(topics)
    for future in futures.values():
        future.result(30)

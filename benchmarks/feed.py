"""Fills the events topic from the traffic model."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import Future
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.stretch import Stretch

EVENTS_TOPIC: Final = "bench.events"
DEAD_LETTER_TOPIC: Final = "bench.dead-letters"
PARTITIONS: Final = 6
MESSAGES_PER_S: Final = 500.0  # in the model's time: how closely a message's reports lie together
STRETCH_MESSAGES: Final = 20_000  # of the model, repeated under other names
UNHURRIED: Final = {"linger.ms": 50, "compression.type": "lz4", "batch.num.messages": 10_000}


def fill(servers: str, events: int, seed: int) -> Counter[str]:
    """Create the topics, and write so many events. What was written, by kind."""
    create_events_topic(servers, EVENTS_TOPIC)
    create_events_topic(servers, DEAD_LETTER_TOPIC, 1)
    producer = Producer({"bootstrap.servers": servers, **UNHURRIED})
    stretch = Stretch(STRETCH_MESSAGES, seed, MESSAGES_PER_S)
    fed: Counter[str] = Counter()
    for record in itertools.islice(stretch.records(), events):
        _send(producer, record.key, record.value, record.timestamp_ms)
        fed["events"] += 1
        fed["poison"] += record.poisoned
        fed["messages"] += record.first
    producer.flush()
    return fed


def _send(producer: Producer, key: str, value: bytes | None, timestamp_ms: int) -> None:
    while True:
        try:
            producer.produce(EVENTS_TOPIC, value, key, timestamp=timestamp_ms)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def create_status_topic(servers: str, name: str) -> None:
    """A run must find no statuses of an earlier one."""
    _create(servers, [NewTopic(name, PARTITIONS, 1, config={"cleanup.policy": "compact"})])


def create_events_topic(servers: str, name: str, partitions: int = PARTITIONS) -> None:
    """The model's reports are old: the broker would delete them while we read."""
    _create(servers, [NewTopic(name, partitions, 1, config={"retention.ms": "-1"})])


def _create(servers: str, topics: list[NewTopic]) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    futures: dict[str, Future[None]] = admin.create_topics(topics)
    for future in futures.values():
        future.result(30)

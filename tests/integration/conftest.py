"""A real Apache Kafka and a real Schema Registry, started once a session where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from processor.sandbox.servers.kafka import KafkaServer
from tests.integration.kit import Broker, GivenBroker, Kafka, Member, Names, real
from tests.support.registry_server import RegistryServer

# So that a test need not wait for what takes a minute in production.
BROKER_SETTINGS = {
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, each process has a Kafka; one registry has to do for all."""
    for item in items:
        if item.get_closest_marker("registry") is not None:
            item.add_marker(pytest.mark.xdist_group("registry"))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """`bootstrap_servers`, and start, stop, restart, kill, freeze, thaw."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield GivenBroker(given)
        return
    with real(lambda: KafkaServer(BROKER_SETTINGS)) as server:
        yield server


@pytest.fixture(scope="session")
def registry_url() -> Iterator[str]:
    """Confluent's API of a Schema Registry."""
    if given := os.environ.get("SCHEMA_REGISTRY_URL"):
        yield given
        return
    with real(RegistryServer) as server:
        yield server.url


@pytest.fixture
def topics(kafka: Broker) -> Callable[..., Names]:
    """Makes the three topics of a new group: `topics(partitions)`."""
    return Kafka(kafka.bootstrap_servers).topics


@pytest.fixture
def cluster(kafka: Broker) -> Kafka:
    """The cluster as seen from outside: topics, records, open transactions."""
    return Kafka(kafka.bootstrap_servers)


@pytest.fixture
def member(kafka: Broker) -> Iterator[Callable[..., Member]]:
    """Makes members of a group: `member(names, protocol=..., ...)`; closed at the end."""
    made: list[Member] = []

    def make(names: Names, **options: Any) -> Member:
        made.append(Member(kafka.bootstrap_servers, names, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()

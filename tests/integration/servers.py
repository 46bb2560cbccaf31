"""A real Apache Kafka and a real Schema Registry, started once a session where there is none.

A plugin of all tests (`tests/conftest.py`), so that those of different folders share them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from processor.sandbox.servers.kafka import KafkaServer
from tests.integration.kit import Broker, GivenBroker, real
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

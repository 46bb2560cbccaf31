"""A broker of the chaos tests' own, because they end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from processor.sandbox.servers.kafka import KafkaServer, Listener
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import NAMES
from tests.integration.kit import real
from tests.integration.stage import SESSION_TIMEOUT_S

SESSIONS = {
    f"group.consumer.{name}session.timeout.ms": str(SESSION_TIMEOUT_S * 1000)
    for name in ("", "min.")
}


@pytest.fixture(scope="session")
def ways() -> Iterator[dict[str, Proxy]]:
    """For each process a way to the broker that can be cut."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(Proxy())) for name in NAMES}


@pytest.fixture(scope="session")
def mortal_kafka(ways: dict[str, Proxy]) -> Iterator[KafkaServer]:
    """With the settings that a broker has in production, but for shorter sessions of KIP-848."""
    listeners = {name.upper(): Listener(proxy_port=way.port) for name, way in ways.items()}
    with real(lambda: KafkaServer(SESSIONS, listeners=listeners)) as server:
        for name, way in ways.items():
            way.open(server.port(name.upper()))
        yield server

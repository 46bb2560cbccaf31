"""A broker of the chaos tests' own, because they end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.sandbox.kafka_server import KafkaServer
from tests.integration.kit import real
from tests.integration.stage import SESSION_TIMEOUT_S

SESSIONS = {
    f"group.consumer.{name}session.timeout.ms": str(SESSION_TIMEOUT_S * 1000)
    for name in ("", "min.")
}


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[KafkaServer]:
    """With the settings that a broker has in production, but for shorter sessions of KIP-848."""
    with real(lambda: KafkaServer(SESSIONS)) as server:
        yield server

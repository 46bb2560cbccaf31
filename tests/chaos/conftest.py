"""A broker of the chaos tests' own, because they end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.sandbox.kafka_server import KafkaServer
from tests.integration.kit import real


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[KafkaServer]:
    """With the settings that a broker has in production."""
    with real(KafkaServer) as server:
        yield server

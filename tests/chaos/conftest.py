"""A broker of the chaos tests' own, because they end it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from processor.errors import ConfigError
from processor.sandbox.kafka_server import KafkaServer


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[KafkaServer]:
    """With the settings that a broker has in production."""
    try:
        server = KafkaServer()
    except ConfigError as error:
        if os.environ.get("CI_REQUIRE_REAL_KAFKA") == "1":
            pytest.fail(f"CI_REQUIRE_REAL_KAFKA is set, and {error}")
        pytest.skip(str(error))
    with server:
        yield server

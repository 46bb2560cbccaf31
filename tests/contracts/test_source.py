"""`ports.Source`: the simulation's, and a real Kafka's by either protocol of groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.kafka_kit import KafkaWith
from tests.contracts.sides import CLASSIC, CONSUMER, SIMULATED, made_for
from tests.contracts.source_suite import GroupContract, PlaceContract, ReadingContract


@pytest.fixture(params=[SIMULATED, CLASSIC])
def kafka_with(request: pytest.FixtureRequest) -> Iterator[KafkaWith]:
    yield from made_for(request)


class TestReading(ReadingContract):
    """On each side."""


class TestPlace(PlaceContract):
    """On each side."""


class TestGroup(GroupContract):
    """On each side, by either protocol."""

    @pytest.fixture(params=[SIMULATED, CLASSIC, CONSUMER])
    def kafka_with(self, request: pytest.FixtureRequest) -> Iterator[KafkaWith]:
        yield from made_for(request)

"""Parameters of fixtures: which side a contract suite runs on, as the tests' ids tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from processor.kafka.group import offsets as offsets_module
from tests.contracts.kafka_kit import KafkaSide, KafkaWith
from tests.contracts.real_kafka import RealKafka
from tests.contracts.simulated_kafka import SimulatedKafka
from tests.integration.kit import Broker

SIMULATED: Final = "simulated"
CLASSIC = pytest.param("kafka", marks=pytest.mark.kafka)
CONSUMER = pytest.param("kafka-consumer", marks=pytest.mark.kafka)


def made_for(request: pytest.FixtureRequest) -> Iterator[KafkaWith]:
    """By the parameter of a fixture."""
    if request.param == SIMULATED:
        yield SimulatedKafka
        return
    broker: Broker = request.getfixturevalue("kafka")
    request.getfixturevalue("monkeypatch").setattr(offsets_module, "LAG_INTERVAL_S", 0.3)
    protocol = "classic" if request.param == "kafka" else "consumer"
    made: list[RealKafka] = []

    def make(partitions: int) -> KafkaSide:
        made.append(RealKafka(broker.bootstrap_servers, partitions, protocol))
        return made[-1]

    yield make
    for each in made:
        each.close()

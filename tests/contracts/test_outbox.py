"""`ports.Outbox` and `ports.Restore`: the simulation's, and a real Kafka's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.kafka_kit import KafkaWith
from tests.contracts.outbox_suite import CommitContract, RestoreContract
from tests.contracts.sides import CLASSIC, SIMULATED, made_for


@pytest.fixture(params=[SIMULATED, CLASSIC])
def kafka_with(request: pytest.FixtureRequest) -> Iterator[KafkaWith]:
    yield from made_for(request)


class TestCommit(CommitContract):
    """On each side."""


class TestRestore(RestoreContract):
    """On each side."""

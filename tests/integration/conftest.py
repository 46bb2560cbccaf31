"""Topics and members of groups on the real Kafka of `servers.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.kit import Broker, Kafka, Member, Names


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, each process has a Kafka; one registry has to do for all."""
    for item in items:
        if item.get_closest_marker("registry") is not None:
            item.add_marker(pytest.mark.xdist_group("registry"))


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

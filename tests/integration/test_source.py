"""Reading the events topic as a member of a group, on a real Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition

from processor.errors import ConfigError
from processor.kafka.client.options import RESERVED
from processor.ports import Position
from tests.integration.kit import (
    PATIENCE_S,
    Broker,
    Kafka,
    Members,
    Topics,
    until,
)
from tests.support.parts import source

pytestmark = pytest.mark.kafka


def numbers(first: int, after: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, after)]


@pytest.mark.parametrize("text", ["", "by hand", "v1 st=", "v1 st=x", "v1 st=-5"])
def test_an_offset_committed_by_other_tools_has_stream_time_zero(
    kafka: Broker, topics: Topics, member: Members, text: str
) -> None:
    names = topics(1)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": names.group_id}
    with Consumer(config) as tool:
        place = TopicPartition(names.events, 0, 5, metadata=text)
        tool.commit(offsets=[place], asynchronous=False)
    assert member(names).join(0).committed(0) == Position(5, 0)


@pytest.mark.chaos
def test_a_broker_that_is_away_yields_nothing_and_goes_on_when_it_is_back(
    kafka: Broker,
    cluster: Kafka,
    topics: Topics,
    member: Members,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 10))
    reader = member(names).join(0).start()
    reader.read(10)
    kafka.stop()
    try:
        for _ in range(20):
            assert reader.source.poll(10, 0.1) == {}
        assert reader.source.committed(0, 0.2) is None
        reader.source.lag()
    finally:
        kafka.start()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 3, warnings
    cluster.produce(names.events, 0, numbers(10, 20))
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.owns(0), 2 * PATIENCE_S)


REFUSED = sorted(RESERVED)


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_the_fence_and_restore_depend_on_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        source("localhost:1", "g", "t", options={name: "1"})


@pytest.mark.parametrize(
    ("options", "protocol", "complaint"),
    [
        ({"session.timeout.ms": 19_999}, "classic", "20000 or more"),
        ({"session.timeout.ms": "soon"}, "classic", "not a number"),
        ({"session.timeout.ms": 30_000}, "consumer", "the broker decides"),
        ({"heartbeat.interval.ms": 1_000}, "consumer", "the broker decides"),
        ({}, "share", "group protocol"),
        ({"no.such.property": 1}, "classic", "no.such.property"),
        ({"security.protocol": "sometimes"}, "classic", "security.protocol"),
    ],
)
def test_bad_options_are_refused_with_what_to_change(
    options: dict[str, str | int], protocol: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        source("localhost:1", "g", "t", options=options, group_protocol=protocol)


def test_other_options_reach_the_client() -> None:
    source("localhost:1", "g", "t", options={"fetch.min.bytes": 10, "linger.ms": 5}).close()

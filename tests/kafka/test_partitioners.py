"""The partitioners are those of the clients: held to librdkafka's choice, and Kafka's vectors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from processor.kafka.partitioners import HASHES, choosers, murmur2
from processor.sandbox.servers.broker import IN_PROCESS_PARTITIONS, InProcessBroker

TOPIC = "keys"


class Chooser:
    """A producer of which we only want to know where it puts a key."""

    def __init__(self, bootstrap_servers: str, partitioner: str) -> None:
        self.partitioner = partitioner
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "partitioner": partitioner, "linger.ms": 0}
        )

    def partition(self, key: bytes) -> int | None:
        found: list[int | None] = []

        def note(error: KafkaError | None, message: Message) -> None:
            assert error is None
            found.append(message.partition())

        self._producer.produce(TOPIC, b"", key, on_delivery=note)
        assert self._producer.flush(30) == 0
        return found[0]


@pytest.fixture(scope="module")
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as broker:
        yield broker


@pytest.fixture(scope="module", params=HASHES)
def chooser(broker: InProcessBroker, request: pytest.FixtureRequest) -> Chooser:
    return Chooser(broker.bootstrap_servers, request.param)


@given(key=st.binary(min_size=1, max_size=40))
def test_a_key_is_where_the_client_puts_it(chooser: Chooser, key: bytes) -> None:
    partition = chooser.partition(key)
    assert partition == HASHES[chooser.partitioner](key) % IN_PROCESS_PARTITIONS
    assert partition is not None
    assert chooser.partitioner in choosers(key, partition, IN_PROCESS_PARTITIONS)


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_javas_clients(key: bytes, signed: int) -> None:
    """The vectors of Apache Kafka's own UtilsTest."""
    assert murmur2(key) == signed & 0x7FFF_FFFF

"""Where the sandbox's topics live: a broker inside this process, or a real Apache Kafka.

The one inside is librdkafka's, made for its own tests. It needs nothing, and it is not a Kafka:

- topics come into being when a client asks for them, always with 4 partitions; they can't be
  created, described or configured;
- a partition keeps its last 5 MB, compacts nothing, and drops older records without a word;
- transactions run, but readers see open and aborted ones, their offsets are not kept, and
  nobody is ever fenced.

So it serves one worker that is never restarted, and a producer that does not run far ahead.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from confluent_kafka import KafkaException, Producer

from processor.config.settings import Kafka
from processor.errors import Unavailable
from processor.kafka.client.options import connection
from processor.kafka.topics.topics import Topics
from processor.sandbox.servers.kafka import KafkaServer

IN_PROCESS_PARTITIONS: Final = 4  # librdkafka's default, which nothing can change
IN_PROCESS_PARTITION_BYTES: Final = 5 * 1024 * 1024  # kept; older records are dropped
REAL_PARTITIONS: Final = 6
START_TIMEOUT_S: Final = 60.0


class TopicNames(NamedTuple):
    """The topics of one processor."""

    events: str
    status: str
    dead_letter: str


class Broker(Protocol):
    """Something to connect to while the context lasts.

    `backlog_max` is how many records of traffic may wait to be consumed (None: any number);
    `can_administer` says whether topics can be created and described.
    """

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def backlog_max(self) -> int | None: ...
    @property
    def can_administer(self) -> bool: ...
    def create_topics(self, names: TopicNames) -> None:
        """Make all three, as they must be. Raises Unavailable."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class InProcessBroker:
    """A broker in this process; it ends, with its data, when the context does."""

    partitions: Final = IN_PROCESS_PARTITIONS
    backlog_max: Final = 20_000  # 4 partitions hold some 40,000 reports of 500 bytes
    can_administer: Final = False

    def __init__(self) -> None:
        self._host: Producer | None = None
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        return self._bootstrap_servers

    def create_topics(self, names: TopicNames) -> None:
        """To ask for a topic makes it."""
        client = Producer(connection(self._bootstrap_servers, {}))
        for name in names:
            _ask_for(client, name)

    def __enter__(self) -> Self:
        """Raises Unavailable, where librdkafka was built without its test broker."""
        self._host = Producer(connection("in-process:1", {"test.mock.num.brokers": 1}))
        try:
            brokers = self._host.list_topics(timeout=START_TIMEOUT_S).brokers.values()
        except KafkaException as failure:
            raise Unavailable(f"no broker in this process: {failure.args[0].str()}") from failure
        self._bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._host = None


class RealBroker(KafkaServer):
    """An Apache Kafka of our own, where Java and Maven are there (else ConfigError)."""

    partitions: Final = REAL_PARTITIONS
    backlog_max: Final = None
    can_administer: Final = True

    def create_topics(self, names: TopicNames) -> None:
        Topics(
            self.bootstrap_servers,
            *names,
            options={},
            events_partitions=self.partitions,
            dead_letter_retention_s=Kafka().dead_letter_retention_s,
            replication_factor=1,
        ).ensure()


def _ask_for(client: Producer, topic: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            found = client.list_topics(topic, timeout=START_TIMEOUT_S).topics[topic]
        except KafkaException as failure:
            raise Unavailable(f"{topic}: {failure.args[0].str()}") from failure
        if found.error is None and found.partitions:
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"{topic}: does not appear")
        time.sleep(0.05)  # to ask again is all that this broker offers

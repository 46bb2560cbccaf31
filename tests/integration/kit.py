"""What the tests on a real Kafka are written with."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from processor.core.events import MessageState, Outcome
from processor.core.mark import parse
from processor.errors import ConfigError, Rejected
from processor.kafka.client.error_codes import PARTITION_EOF
from processor.kafka.group.membership import Group
from processor.kafka.outbox import KafkaOutbox, Names
from processor.kafka.source import KafkaSource
from processor.ports import Position, RawRecord, Restored, Transaction
from processor.sandbox.servers.java import JavaServer
from tests.support.needs import do_without
from tests.support.patience import Patience, patient

__all__ = ["Names"]

SESSION_TIMEOUT_MS = 6_000
SHORT_POLL_MS = 3_000  # of a member that is to be thrown out; its session is as short
PATIENCE_S = 30.0


class Broker(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


class GivenBroker:
    """Somebody else's: it can be used, and not stopped."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    def _not_ours(self) -> None:
        pytest.skip("KAFKA_BOOTSTRAP_SERVERS names a broker that is not ours to stop")

    start = stop = restart = kill = freeze = thaw = _not_ours


T = TypeVar("T")
Server = TypeVar("Server", bound=JavaServer)


@contextmanager
def real(make: Callable[[], Server]) -> Iterator[Server]:
    """A server that runs; where it can't be had a skip, which CI turns into a failure."""
    try:
        server = make()
    except ConfigError as error:
        do_without(str(error))
    with server:
        yield server


def until(what: Callable[[], T | None], timeout_s: float = PATIENCE_S) -> T:
    """The first truthy answer."""
    limit = Patience(timeout_s)
    while not (answer := what()):
        assert not limit.is_over(), f"waited {limit} in vain"
        time.sleep(0.02)  # `what` asks a broker, which tells nothing by itself
    return answer


class Kafka:
    """The cluster as the tests see it from outside."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._config: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
        self.admin = AdminClient(self._config)

    def topics(self, partitions: int = 2) -> Names:
        unique = uuid.uuid4().hex[:8]
        names = Names(f"group-{unique}", f"events-{unique}", f"status-{unique}", f"dead-{unique}")
        self.create(names.events, partitions)
        self.create(names.status, partitions, {"cleanup.policy": "compact"})
        self.create(names.dead_letter, partitions)
        return names

    def create(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Return when the broker has heard of it, too, which it may after it was made."""
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        self.admin.create_topics([topic])[name].result(patient(PATIENCE_S))
        until(lambda: self._leaders(name) == partitions)

    def delete(self, name: str) -> None:
        """Return when the broker has forgotten it."""
        self.admin.delete_topics([name])[name].result(patient(PATIENCE_S))
        until(lambda: self._leaders(name) is None)

    def identity(self, name: str) -> str:
        """The id that it was given when it was made."""
        found = self.admin.describe_topics(TopicCollection([name]))[name]
        return str(found.result(patient(PATIENCE_S)).topic_id)

    def _leaders(self, name: str) -> int | None:
        """How many partitions of it can be used. None: there is no such topic."""
        topics = self.admin.list_topics(timeout=patient(PATIENCE_S)).topics
        if name not in topics:
            return None
        return sum(each.leader >= 0 for each in topics[name].partitions.values())

    def produce(
        self,
        topic: str,
        partition: int,
        values: Iterable[bytes | None],
        key: bytes | None = b"key",
    ) -> None:
        producer = Producer({**self._config, "linger.ms": 5})
        for value in values:
            producer.produce(topic, value, key, partition)
        assert producer.flush(patient(PATIENCE_S)) == 0

    def open_transaction(
        self, topic: str, partition: int, keys: Iterable[str], timeout_ms: int = 60_000
    ) -> Producer:
        """Records written, and neither committed nor aborted."""
        producer = Producer(
            {
                **self._config,
                "transactional.id": uuid.uuid4().hex,
                "transaction.timeout.ms": timeout_ms,
            }
        )
        producer.init_transactions(patient(PATIENCE_S))
        producer.begin_transaction()
        for key in keys:
            producer.produce(topic, encode(state(key)), key, partition)
        assert producer.flush(patient(PATIENCE_S)) == 0
        return producer

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        place = TopicPartition(topic, partition, offset)
        for answer in self.admin.delete_records([place]).values():
            answer.result(patient(PATIENCE_S))

    def read(self, topic: str, isolation: str = "read_committed") -> list[Message]:
        """Everything that is in the topic."""
        config = {
            **self._config,
            "group.id": uuid.uuid4().hex,
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
        found: list[Message] = []
        with Consumer(config) as consumer:
            left = set(consumer.list_topics(topic, patient(PATIENCE_S)).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, number, 0) for number in left])
            while left:
                for message in consumer.consume(1_000, 0.2):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    else:
                        assert error.code() == PARTITION_EOF, error
                        left.discard(message.partition() or 0)
        return found

    def keys(self, topic: str, isolation: str = "read_committed") -> list[str]:
        return [(message.key() or b"").decode() for message in self.read(topic, isolation)]


class JsonCodec:
    """A readable stand-in for the Avro codec, which has tests of its own."""

    def __init__(self, before_encode: Callable[[MessageState], None] = lambda _: None) -> None:
        self._before_encode = before_encode

    def encode(self, state: MessageState) -> bytes:
        self._before_encode(state)
        return encode(state)

    def decode(self, value: bytes) -> MessageState:
        fields = json.loads(value)
        if not fields:
            raise Rejected("undecodable")
        history = {int(code): at for code, at in fields.pop("history").items()}
        outcome = Outcome(fields.pop("settled_outcome"))
        return MessageState(**fields, history=history, settled_outcome=outcome)


def encode(state: MessageState) -> bytes:
    return json.dumps(asdict(state)).encode()


def state(message_id: str, version: int = 1) -> MessageState:
    return MessageState(message_id, {220: 1_000}, 220, "00T1", 1_000, None, 0, version, 1_000)


class Recorder:
    """A listener that writes down what it is told, and may do something more. `owned`: what it has
    been given, and not been told that it is gone.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.owned: set[int] = set()
        self.on_assigned: Callable[[Collection[int]], None] = lambda _: None
        self.on_revoked: Callable[[Collection[int]], None] = lambda _: None

    def assigned(self, partitions: Collection[int]) -> None:
        self.calls.append(("assigned", sorted(partitions)))
        self.owned |= set(partitions)
        self.on_assigned(partitions)

    def revoked(self, partitions: Collection[int]) -> None:
        self.calls.append(("revoked", sorted(partitions)))
        self.on_revoked(partitions)
        self.owned -= set(partitions)

    def lost(self, partitions: Collection[int]) -> None:
        self.calls.append(("lost", sorted(partitions)))
        self.owned -= set(partitions)


class Member:
    """One process: a source and its outbox, as the command line composes them."""

    def __init__(
        self,
        bootstrap_servers: str,
        names: Names,
        *,
        protocol: str = "classic",
        max_poll_ms: int = 300_000,
        codec: JsonCodec | None = None,
        group: Callable[[KafkaSource], Group] = lambda source: source,
        producer_options: Mapping[str, str | int | float | bool] | None = None,
        transactional_id: str | None = None,
        **outbox: Any,
    ) -> None:
        self.names = names
        self.listener = Recorder()
        session = min(SESSION_TIMEOUT_MS, max_poll_ms)
        self.source = KafkaSource(
            bootstrap_servers,
            names.group_id,
            names.events,
            options={"max.poll.interval.ms": max_poll_ms},
            group_protocol=protocol,
            session_timeout_ms=session if protocol == "classic" else None,
        )
        self.outbox = KafkaOutbox(
            bootstrap_servers,
            group(self.source),
            codec or JsonCodec(),
            names,
            options=producer_options or {},
            transactional_id=transactional_id,
            **outbox,
        )
        self.source.subscribe(self.listener)

    def join(self, *partitions: int) -> Member:
        """Poll until exactly these partitions are ours."""
        self.outbox.renew()
        until(lambda: self.source.poll(100, 0.1) is not None and self.owns(*partitions))
        return self

    def owns(self, *partitions: int) -> bool:
        return self.source.joined() and set(self.source.assigned()) == set(partitions)

    def start(self) -> Member:
        """Read everything that is ours from its committed position."""
        for partition in self.source.assigned():
            self.source.start(partition, self.committed(partition).offset)
        return self

    def committed(self, partition: int) -> Position:
        """The offset, and the stream time that was kept beside it."""
        found = until(lambda: self.source.committed(partition, 1))
        mark = parse(found.metadata)
        return Position(found.offset, mark.stream_time if mark else 0)

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """Of all partitions, one after the other."""
        batches = self.source.poll(max_records, timeout_s)
        return [record for batch in batches.values() for record in batch]

    def read(self, count: int, timeout_s: float = PATIENCE_S) -> list[RawRecord]:
        records: list[RawRecord] = []

        def enough() -> bool:
            records.extend(self.poll(10_000, 0.1))
            return len(records) >= count

        until(enough, timeout_s)
        return records

    def restore(self, partition: int, checkpoint: int | None = None) -> Restored:
        """All of it in one piece."""
        changes = []
        limit = Patience(PATIENCE_S)
        self.committed(partition)
        restore = self.outbox.restore(partition, checkpoint)
        while True:
            self.source.poll(100, 0.0)
            step = restore.step(1_000, 0.1)
            changes += step.changes
            if step.done:
                restore.close()
                return step._replace(changes=changes)
            assert not limit.is_over(), f"the restore stands at {step[1:]}"

    def close(self) -> None:
        self.source.close()
        self.outbox.close()


def writes(partition: int, *keys: str, at: int = 0, stream_time: int = 0) -> Transaction:
    """A transaction with a status for each key."""
    return Transaction(
        positions={partition: Position(at, stream_time)},
        statuses={partition: [state(key) for key in keys]},
    )


Topics = Callable[..., Names]
"""Makes the topics of a new group: the fixture `topics`."""

Members = Callable[..., Member]
"""Makes members of a group: the fixture `member`."""

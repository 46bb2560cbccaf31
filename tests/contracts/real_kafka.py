"""A real Kafka for the contract suites."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer, TopicPartition

from processor.core.events import MessageState
from processor.kafka.group.membership import _GENERATION, _MAGIC
from processor.kafka.source import KafkaSource
from processor.ports import CommittedOffset, Source
from tests.contracts.kafka_kit import Held, KafkaSide, Letter, Process, T
from tests.integration.kit import PATIENCE_S, SHORT_POLL_MS, JsonCodec, Kafka, Member, until
from tests.support.patience import patient


class RealHeld:
    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def commit(self) -> None:
        self._producer.commit_transaction()

    def abort(self) -> None:
        self._producer.abort_transaction()


class Hearing:
    """What the outbox asks of the source. `late`: a generation ago."""

    def __init__(self, source: KafkaSource) -> None:
        self.late = False
        self._source = source

    def assigned(self) -> Collection[int]:
        return self._source.assigned()

    def is_stable(self, partition: int) -> bool:
        return self._source.is_stable(partition)

    def member(self) -> bytes | None:
        member = self._source.member()
        if not self.late or member is None:
            return member
        assert member.startswith(_MAGIC)
        (generation,) = _GENERATION.unpack_from(member, len(_MAGIC))
        rest = member[len(_MAGIC) + _GENERATION.size :]
        return _MAGIC + _GENERATION.pack(generation - 1) + rest


class RealKafka(KafkaSide):
    """On a broker that may be shared: topics and a group of its own."""

    many = 20_000

    def __init__(self, bootstrap_servers: str, partitions: int, protocol: str) -> None:
        self._cluster = Kafka(bootstrap_servers)
        self._names = self._cluster.topics(partitions)
        self._protocol = protocol
        self._ends = [0] * partitions
        self._members: dict[Source, Member] = {}
        self._hearing: dict[Source, Hearing] = {}

    def process(self, name: str | None = None, *, hasty: bool = False) -> Process:
        hearing: list[Hearing] = []

        def group(source: KafkaSource) -> Hearing:
            hearing.append(Hearing(source))
            return hearing[0]

        member = Member(
            self._cluster.bootstrap_servers,
            self._names,
            protocol=self._protocol,
            max_poll_ms=SHORT_POLL_MS if hasty else 300_000,
            codec=JsonCodec(),
            group=group,
            transactional_id=name,
        )
        self._members[member.source] = member
        self._hearing[member.source] = hearing[0]
        return Process(self, member.source, member.outbox, member.listener)

    def produce(self, partition: int, count: int) -> list[int]:
        values = (str(number).encode() for number in range(count))
        self._cluster.produce(self._names.events, partition, values)
        self._ends[partition] += count
        return list(range(self._ends[partition] - count, self._ends[partition]))

    def leave_markers(self, partition: int) -> None:
        events = self._names.events
        self._cluster.open_transaction(events, partition, ["never"]).abort_transaction()
        self._ends[partition] += 2

    def delete_before(self, partition: int, offset: int) -> None:
        self._cluster.delete_before(self._names.events, partition, offset)

    def hold(self, process: Process, partition: int, key: str, committed: CommittedOffset) -> Held:
        producer = self._cluster.open_transaction(self._names.status, partition, [key])
        place = TopicPartition(self._names.events, partition, *committed)
        member = self._members[process.source].source.member()
        producer.send_offsets_to_transaction([place], member)
        return RealHeld(producer)

    @contextmanager
    def behind(self, process: Process) -> Iterator[None]:
        hearing = self._hearing[process.source]
        hearing.late = True
        yield
        hearing.late = False

    def take_the_name(self, name: str) -> None:
        servers = self._cluster.bootstrap_servers
        producer = Producer(
            {"bootstrap.servers": servers, "transactional.id": name, "log_level": 0}
        )
        producer.init_transactions(patient(PATIENCE_S))

    def throw_out(self, process: Process) -> None:
        """Its client has found that nobody polls it."""
        group = self._names.group_id

        def is_empty() -> bool:
            answer = self._cluster.admin.describe_consumer_groups([group])[group]
            return not answer.result(patient(PATIENCE_S)).members

        self.until(is_empty)

    def statuses(self) -> list[tuple[int, str, MessageState | None]]:
        found = self._cluster.read(self._names.status)
        decode = JsonCodec().decode
        rows = [(m.partition() or 0, m.offset(), m.key(), m.value()) for m in found]
        return [
            (partition, (key or b"").decode(), None if value is None else decode(value))
            for partition, _, key, value in sorted(rows, key=lambda row: row[:2])
        ]

    def letters(self) -> list[Letter]:
        found = []
        for message in self._cluster.read(self._names.dead_letter):
            raw: Any = message.headers() or []
            headers = {name: (value or b"").decode() for name, value in raw}
            about: tuple[int, int] | str = (message.key() or b"").decode()
            if "__connect.errors.offset" in headers:
                about = (
                    int(headers["__connect.errors.partition"]),
                    int(headers["__connect.errors.offset"]),
                )
            reason = headers["__connect.errors.exception.class.name"]
            found.append(Letter(headers["__connect.errors.stage"], reason, about))
        return found

    def pass_on(self, seconds: float) -> None:
        """It has passed."""

    def until(self, condition: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
        return until(condition, within_s)

    def close(self) -> None:
        for member in self._members.values():
            member.close()

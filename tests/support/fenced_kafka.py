"""As much of Kafka as the fence stands on, in memory: a group, its offsets, and transactions.

Like the real one it looks at who sends the offsets, and at nothing else: a transaction without
any is taken from everybody, and so is one that names no member. And like librdkafka it leaves
out a negative offset without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, TopicPartition

from processor.errors import ProcessorError, Unavailable
from processor.kafka.client.producer import FencedOff, Moving

NOBODY = b""


class FencedKafka:
    """Implements `membership.Group` as one process sees it: `told` is what its last poll told it
    of itself, and `current` whom the group has now. `calls` are those to the process's producers.
    `faults`: what the next calls of this name raise.
    """

    def __init__(self, faults: Mapping[str, Sequence[ProcessorError]] | None = None) -> None:
        self.told: bytes | None = b"m1"
        self.current = b"m1"
        self.mine = {0, 1}
        self.beginnings = {0: 30}
        self.records: list[str] = []
        self.offsets: dict[int, tuple[int, str]] = {}
        self.calls: list[str] = []
        self.epoch = 0
        self._faults = {name: list(errors) for name, errors in (faults or {}).items()}

    def assigned(self) -> set[int]:
        return self.mine

    def is_stable(self, partition: int) -> bool:
        return partition in self.mine

    def member(self) -> bytes | None:
        return self.told

    def beginning(self, topic: str, partition: int) -> int:
        assert topic == "events"
        if partition not in self.beginnings:
            raise Unavailable(f"{topic} does not tell where it begins")
        return self.beginnings[partition]

    def call(self, name: str) -> None:
        errors = self._faults.get(name)
        self.calls.append(f"{name}!" if errors else name)
        if errors:
            raise errors.pop(0)


class FencedProducer:
    """Implements `transactions.Producer`. A discarded one must not be used."""

    def __init__(self, kafka: FencedKafka, until_s: Callable[[], float]) -> None:
        self.until_s = until_s
        self._kafka = kafka
        self._epoch = 0
        self._discarded = False
        self._open: tuple[list[str], dict[int, tuple[int, str]]] | None = None

    def open(self) -> None:
        self._call("open")
        self._kafka.epoch += 1
        self._epoch = self._kafka.epoch

    def begin(self) -> None:
        assert self._open is None, "a transaction is under way"
        self._call("begin")
        self._open = [], {}

    def produce_all(self, topic: str, partition: int, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self.produce(topic, message["key"], message["value"], [], partition=partition)

    def produce(
        self,
        topic: str,
        key: bytes | str | None,
        value: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        timestamp_ms: int = 0,
        *,
        partition: int = -1,
        callback: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        self._call("produce")
        self._under_way()[0].append(str(key))

    def flush(self) -> None:
        self._call("flush")

    def send_offsets(self, places: Sequence[TopicPartition], member: bytes) -> None:
        self._call("offsets")
        sent = {p.partition: (p.offset, p.metadata or "") for p in places if p.offset >= 0}
        if sent and member not in (NOBODY, self._kafka.current):
            raise Moving("UNKNOWN_MEMBER_ID")
        self._under_way()[1].update(sent)

    def commit(self) -> None:
        self._call("commit")
        records, offsets = self._under_way()
        if self._epoch != self._kafka.epoch:
            raise FencedOff("_FENCED")
        self._kafka.records += records
        self._kafka.offsets.update(offsets)
        self._open = None

    def abort(self) -> None:
        self._call("abort")
        self._under_way()
        self._open = None

    def discard(self) -> None:
        self._call("discard")
        self._discarded = True

    def _call(self, name: str) -> None:
        assert not self._discarded, f"{name} of a producer that was discarded"
        self._kafka.call(name)

    def _under_way(self) -> tuple[list[str], dict[int, tuple[int, str]]]:
        assert self._open is not None, "no transaction is under way"
        return self._open

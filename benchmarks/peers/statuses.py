"""Whether two contenders came to the same statuses."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from processor.core.events import MessageState
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec

EXAMPLES: Final = 5
_TEXT: Final = schema_text("delivery_status.avsc")


class Published(NamedTuple):
    """The last value of each key of a status topic, and how many records it has had."""

    records: int
    last: dict[bytes, bytes]


class Difference(NamedTuple):
    """Of how many messages two topics say the same, and not; and a few of those."""

    equal: int
    codes: int
    others: int
    missing: int
    examples: list[str]

    @property
    def total(self) -> int:
        return self.codes + self.others + self.missing


def codec() -> StatusCodec:
    """For values in single-object encoding, as all contenders write them."""
    return StatusCodec(_TEXT, single_object_prefix(_TEXT))


def read(servers: str, topic: str, partitions: int) -> Published:
    """What a reader of committed records finds in the topic now."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"statuses-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    records, last, ended = 0, dict[bytes, bytes](), set[int | None]()
    while len(ended) < partitions:
        for message in consumer.consume(10_000, 1.0):
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error.str()  # noqa: SLF001 - its name
                ended.add(message.partition())
                continue
            key, value = message.key(), message.value()
            assert isinstance(key, bytes)
            assert value is not None
            records += 1
            last[key] = value
    consumer.close()
    return Published(records, last)


def compare(ours: Mapping[bytes, bytes], theirs: Mapping[bytes, bytes]) -> Difference:
    """Message by message. Versions are left out: they count what was published, and a worker that
    takes many events at once publishes less. What Salesforce has answered is left out too.
    """
    reader = codec()
    counts = {"equal": 0, "codes": 0, "others": 0, "missing": 0}
    examples: list[str] = []
    for key in ours.keys() | theirs.keys():
        kind, example = _judge(reader, ours.get(key), theirs.get(key))
        counts[kind] += 1
        if kind != "equal" and len(examples) < EXAMPLES:
            examples.append(f"{key.decode()}: {example}")
    return Difference(**counts, examples=examples)


def _judge(reader: StatusCodec, one: bytes | None, other: bytes | None) -> tuple[str, str]:
    if one is None or other is None:
        return "missing", "only theirs" if one is None else "only ours"
    ours, theirs = reader.decode(one), reader.decode(other)
    if ours.code != theirs.code:
        return "codes", f"{ours.code}, theirs {theirs.code}, of {ours.history}"
    if _told(ours) != _told(theirs):
        return "others", f"{_told(ours)}, theirs {_told(theirs)}"
    return "equal", ""


def _told(state: MessageState) -> tuple[Any, ...]:
    return (
        sorted(state.history.items()),
        state.task_id,
        state.task_at,
        state.account_id,
        state.account_at,
    )

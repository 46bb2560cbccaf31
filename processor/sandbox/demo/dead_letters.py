"""Counts what arrives in a dead-letter topic, by reason."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from processor.errors import Unavailable
from processor.kafka.client.error_codes import PARTITION_EOF
from processor.kafka.client.options import connection
from processor.kafka.dead_letters import PREFIX

READ_TIMEOUT_S: Final = 15.0
_REASON: Final = f"{PREFIX}exception.class.name"


class DeadLetters:
    """Reads the topic from its beginning. Read it often: the broker may not keep it for long."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self.reasons: Counter[str] = Counter()
        self._partitions = partitions
        self._ended: set[int] = set()
        self._consumer = Consumer(
            {
                **connection(bootstrap_servers, {}),
                "group.id": f"{topic}-reader",  # wanted by the client, and not joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
        )

    @property
    def count(self) -> int:
        return self.reasons.total()

    def read(self) -> None:
        """Take what is there, without waiting."""
        self._take(self._consumer.consume(1_000, 0.0))

    def read_all(self) -> None:
        """Take everything up to the present ends. Raises Unavailable."""
        self._ended.clear()
        places = self._consumer.position(self._consumer.assignment())
        self._consumer.assign(
            [TopicPartition(p.topic, p.partition, max(p.offset, OFFSET_BEGINNING)) for p in places]
        )
        deadline = time.monotonic() + READ_TIMEOUT_S
        while len(self._ended) < self._partitions:
            if time.monotonic() > deadline:
                raise Unavailable("the dead-letter topic could not be read to its end")
            self._take(self._consumer.consume(1_000, 0.2))

    def close(self) -> None:
        self._consumer.close()

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                self.reasons[_reason_of(message)] += 1
            elif error.code() == PARTITION_EOF:
                self._ended.add(message.partition() or 0)


def _reason_of(message: Message) -> str:
    headers = dict(message.headers() or [])
    reason = headers.get(_REASON)
    return reason.decode() if isinstance(reason, bytes) else str(reason)

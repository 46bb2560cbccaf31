"""What a group's offsets and a status topic's records say of whose they are, before a start.

Asked without joining the group, and nothing is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from processor.core.mark import Identity, Mark, foreign, is_adopted, lost_statuses, parse
from processor.errors import ConfigError, Unavailable
from processor.kafka.client.options import Options, built, checked, consumer_options
from processor.kafka.group.offsets import Offsets
from processor.kafka.restore import KafkaRestore, KeysOnly, StatusReader

ANSWER_TIMEOUT_S: Final = 15.0
ATTEMPT_S: Final = 2.0
STEP_S: Final = 0.1
HEARSAY_S: Final = 5.0
TAIL_OFFSETS: Final = 100  # of each partition: records of transactions, and their markers


class Provenance:
    """`options` are the user's librdkafka properties. Raises ConfigError for bad ones."""

    def __init__(self, bootstrap_servers: str, options: Options, group_id: str) -> None:
        self._options = checked(options, None)
        self._bootstrap_servers, self._group_id = bootstrap_servers, group_id

    def committed(self, topic: str, partitions: int) -> dict[int, Mark]:
        """The marks beside the group's offsets of a topic. Raises Unavailable, and ConfigError
        where we may not read them.
        """
        config = {
            **consumer_options(self._bootstrap_servers, self._options),
            "group.id": self._group_id,  # not joined
            "isolation.level": "read_uncommitted",  # else an open transaction is waited for
            "enable.auto.commit": False,
        }
        consumer = built(Consumer, config)
        try:
            found = self._ask(consumer, [TopicPartition(topic, n) for n in range(partitions)])
        finally:
            consumer.close()
        beside = {p.partition: parse(p.metadata) for p in found if p.offset >= 0}
        return {partition: mark for partition, mark in beside.items() if mark is not None}

    def _ask(self, consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
        """A cluster's first group is asked for in vain for a moment."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                return consumer.committed(places, ATTEMPT_S)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    raise ConfigError(
                        f"group {self._group_id}: we may not read its offsets; allow Read on the "
                        "group (docs/kafka-access.md)"
                    ) from None
                if time.monotonic() > deadline:
                    why = f"the offsets of group {self._group_id}: {error.name()}"
                    raise Unavailable(why) from None

    def last(self, topic: str, partitions: int) -> dict[int, Mark]:
        """The marks at the ends of a status topic's partitions. Raises Unavailable."""
        reader = StatusReader(self._bootstrap_servers, self._options, self._group_id, topic)
        offsets = Offsets(self._bootstrap_servers, self._options)
        try:
            found = {
                p: parse(_soon(partial(_tail, reader, offsets, topic, p)))
                for p in range(partitions)
            }
        finally:
            reader.close()
        return {partition: mark for partition, mark in found.items() if mark is not None}


def _soon(ask: Callable[[], str]) -> str:
    """Brokers hear of a new topic one after the other."""
    deadline = time.monotonic() + HEARSAY_S
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(STEP_S)  # nobody tells when a broker has heard


def _tail(reader: StatusReader, offsets: Offsets, topic: str, partition: int) -> str:
    """The last mark among the last records of a partition."""
    first = offsets.beginning(topic, partition)
    try:
        end = offsets.ask_high_watermark(topic, partition).result(ANSWER_TIMEOUT_S).offset
    except (KafkaException, FutureTimeoutError) as error:
        raise Unavailable(f"{topic} does not tell where it ends: {error}") from None
    begin = max(first, end - TAIL_OFFSETS)
    restore = KafkaRestore(reader, offsets, KeysOnly(), topic, partition, begin)
    mark, deadline = "", time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while True:
            step = restore.step(TAIL_OFFSETS, STEP_S)
            mark = step.mark or mark
            if step.done:
                return mark
            if time.monotonic() > deadline:
                raise Unavailable(f"{topic} can't be read to its end in time")
    finally:
        restore.close()


def problems(
    ours: Identity,
    committed: Mapping[int, Mark],
    kept: Mapping[int, Mark],
    adopted: frozenset[str],
    *,
    status_missing: bool = False,
) -> list[str]:
    """Why the offsets and records are not for us to go on with, each once."""
    found = {
        lost_statuses(ours.group, mark.identity.status_topic or "(not known)"): None
        for mark in committed.values()
        if status_missing or mark.identity.status_topic not in ("", ours.status_topic)
    }
    for mark in kept.values():
        if not is_adopted(mark, adopted) and (why := foreign(mark, ours)):
            found[why] = None
    return list(found)

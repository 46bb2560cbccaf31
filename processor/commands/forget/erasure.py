"""Erasing one message: a tombstone in the status topic, written as the owner of its partition.

An owner keeps states in its local store and reads the status topic only when it takes a partition
over. So a tombstone from outside would be overruled by its next status. Hence the group has to be
at rest, and this joins it as its only member: the transaction is fenced like any other, and
whoever owns the partition next finds the tombstone behind its checkpoint and drops the message.

Where a message's status lies is looked up in the status topic, and not worked out of its key:
which partition a key belongs to is the producer's choice (Java's and librdkafka's differ).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processor.core.mark import parse, where_to_start
from processor.errors import ConfigError, Unavailable
from processor.kafka.client.options import Options, built, checked, connection
from processor.kafka.group.offsets import REQUEST_TIMEOUT_S
from processor.kafka.outbox import KafkaOutbox
from processor.kafka.source import KafkaSource
from processor.ports import Committed, CommittedOffset, Position, Transaction
from processor.worker.claim import Claim

JOIN_TIMEOUT_S: Final = 60.0
STEP_RECORDS: Final = 50_000
STEP_TIMEOUT_S: Final = 0.1
COMMITTED_TIMEOUT_S: Final = 0.5
SILENCE_LIMIT_S: Final = 60.0  # without any progress; a dead owner's transaction ends in 10


def require_rest(bootstrap_servers: str, options: Options, group_id: str) -> None:
    """Raises ConfigError while the group has members, Unavailable."""
    admin = built(AdminClient, connection(bootstrap_servers, checked(options, None)))
    (answer,) = admin.describe_consumer_groups(
        [group_id], request_timeout=REQUEST_TIMEOUT_S
    ).values()
    try:
        members = answer.result(REQUEST_TIMEOUT_S * 2).members
    except KafkaException as failure:
        if failure.args[0].name() == "GROUP_ID_NOT_FOUND":
            return
        raise Unavailable(f"group {group_id} is not described: {failure}") from None
    except FutureTimeoutError:
        raise Unavailable(f"group {group_id} is not described: no answer") from None
    if members:
        raise ConfigError(
            f"group {group_id} has {len(members)} members: stop every process of it first (one "
            "that was killed counts until its session times out)"
        )


class Forgetting:
    """The group's only member, for as long as it takes."""

    def __init__(self, source: KafkaSource, outbox: KafkaOutbox, claim: Claim) -> None:
        self._source, self._outbox, self._claim = source, outbox, claim

    def assigned(self, partitions: Collection[int]) -> None: ...
    def revoked(self, partitions: Collection[int]) -> None: ...
    def lost(self, partitions: Collection[int]) -> None: ...

    def join(self, partitions: int) -> None:
        """Own them all. Raises Unavailable, also where another process has joined meanwhile."""
        self._outbox.renew()
        self._source.subscribe(self)
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        while len(self._source.assigned()) < partitions:
            if time.monotonic() > deadline:
                raise Unavailable("not all partitions are given to us: is another process running?")
            self._source.poll(1, 0.1)

    def forget(self, message_id: str, partitions: int) -> list[int]:
        """Write the tombstone wherever the status topic has the message; where that was.

        Raises Unavailable: nothing was written, or it is not known; do it again. Raises
        StopProcessing where the statuses are another group's.
        """
        found: dict[int, Position] = {}
        for partition in range(partitions):
            committed = self._committed(partition)
            there, mark = self._look(message_id, partition)
            kept = parse(mark)
            self._claim.meet(partition, kept)
            if there:
                beside = parse(committed.metadata)
                start = where_to_start(committed.offset, beside, kept, self._claim.ours)
                found[partition] = Position(start.offset, start.stream_time)
        if found:
            tombstones = {partition: [message_id] for partition in found}
            marks = {partition: self._claim.mark(partition, *at) for partition, at in found.items()}
            outcome = self._outbox.commit(Transaction(found, marks, tombstones=tombstones))
            if not isinstance(outcome, Committed):
                raise Unavailable(f"the tombstone was not written, do it again: {outcome.why}")
        return list(found)

    def close(self) -> None:
        self._source.close()
        self._outbox.close()

    def _committed(self, partition: int) -> CommittedOffset:
        deadline = time.monotonic() + SILENCE_LIMIT_S
        while (committed := self._source.committed(partition, COMMITTED_TIMEOUT_S)) is None:
            self._source.poll(1, 0.0)
            if time.monotonic() > deadline:
                raise Unavailable(f"no stable offset of partition {partition}")
        return committed

    def _look(self, message_id: str, partition: int) -> tuple[bool, str]:
        """Whether the message is there, and the partition's last mark."""
        restore = self._outbox.restore(partition, None)
        there, mark = False, ""
        read_to, deadline = -1, time.monotonic() + SILENCE_LIMIT_S
        try:
            while True:
                step = restore.step(STEP_RECORDS, STEP_TIMEOUT_S)
                mark = step.mark or mark
                for key, state in step.changes:
                    if key == message_id:
                        there = state is not None
                if step.done:
                    return there, mark
                self._source.poll(1, 0.0)
                if step.offset > read_to:
                    read_to, deadline = step.offset, time.monotonic() + SILENCE_LIMIT_S
                if time.monotonic() > deadline:
                    raise Unavailable(f"status partition {partition} can't be read to its end")
        finally:
            restore.close()

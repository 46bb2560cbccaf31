"""The events topic, read by a member of a consumer group.

Whose partition is whose changes only inside `poll`, and the member's identity that fences
transactions (`membership`) is taken at the same moment, so that the two always belong together.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import methodcaller
from typing import Final, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from processor.errors import StopProcessing
from processor.kafka.client import error_codes
from processor.kafka.client.error_log import ErrorLog
from processor.kafka.client.options import (
    Options,
    built,
    checked,
    consumer_options,
)
from processor.kafka.group.membership import fencing_metadata
from processor.kafka.group.offsets import LogEnds
from processor.kafka.group.rebalance import RebalanceWatch
from processor.kafka.topics.watch import INTERVAL_S, Expected, TopicWatch
from processor.ports import CommittedOffset, RawRecord, RebalanceListener

_log = logging.getLogger(__name__)

AWAY_S: Final = 3 * INTERVAL_S  # a Kafka that was silent for so long will not answer now
REBALANCE_WAIT_S: Final = 6.0  # members hear of a rebalance by a heartbeat, within 3 s
MAX_POLL_INTERVAL_MS: Final = 300_000
EXPECT_NOTHING: Final = Expected()

_partition: Final = methodcaller("partition")

_DATA_LOST: Final = frozenset((KafkaError.OFFSET_OUT_OF_RANGE, error_codes.AUTO_OFFSET_RESET))


@dataclass(slots=True)
class _Assigned:
    """One assigned partition, until it is taken away.

    `next_offset` is what it is to deliver next once it is started. `pending` waits to be started,
    for which the client was not ready. `committed` is where the group stands; the lag is counted
    from there before the start. `end_seen` is the end that the client has reported.
    """

    stable: bool = False
    paused: bool = False
    committed: int = 0
    next_offset: int | None = None
    pending: int | None = None
    end_seen: int | None = None

    def reached(self) -> int:
        """The offset after the last record handed out, or where reading begins."""
        if self.next_offset is not None:
            return max(self.next_offset, 0)
        return max(self.committed if self.pending is None else self.pending, 0)


class KafkaSource:
    """Implements `ports.Source`, and tells the outbox who we are in the group.

    `options` are the user's librdkafka properties. `session_timeout_ms` is None where the broker
    decides; here it has no lower bound, so that tests are quick. What is not as `expected` stops
    the process. Raises ConfigError for bad options.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group_id: str,
        topic: str,
        *,
        options: Options,
        group_protocol: str,
        session_timeout_ms: int | None,
        expected: Expected = EXPECT_NOTHING,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        user = checked(options, group_protocol)
        self._topic = topic
        self._partitions = expected.partitions
        self._config: dict[str, object] = {
            "fetch.wait.max.ms": 100,
            "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
            **consumer_options(bootstrap_servers, user),
            "group.id": group_id,
            "group.protocol": group_protocol,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "error_cb": self._on_error,
        }
        self._told_by_epoch = group_protocol == "consumer"
        if group_protocol == "classic":
            self._config["partition.assignment.strategy"] = "cooperative-sticky"
            if session_timeout_ms is not None:
                self._config["session.timeout.ms"] = session_timeout_ms
                self._config["heartbeat.interval.ms"] = min(3_000, session_timeout_ms // 3)
        self._where = bootstrap_servers, user, group_id
        self._monotonic_s = monotonic_s
        self._listener: RebalanceListener | None = None
        self._log_ends = LogEnds(bootstrap_servers, user, topic, monotonic_s)
        self._topics = TopicWatch(bootstrap_servers, user, expected.identities, monotonic_s)
        self._error_log = ErrorLog("read events")
        self._stop: str | None = None
        self._consumer = built(Consumer, self._config)
        self._forget()

    def _forget(self) -> None:
        self._joined = False
        self._member: bytes | None = None
        self._assigned: dict[int, _Assigned] = {}
        self._leaving = False

    # -- reading -----------------------------------------------------------------------------

    def subscribe(self, listener: RebalanceListener) -> None:
        self._listener = listener
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, max_records: int, timeout_s: float) -> Mapping[int, Sequence[RawRecord]]:
        for partition, mine in self._assigned.items():
            if mine.pending is not None:
                self._seek(partition, mine, mine.pending)
        try:
            messages = self._consumer.consume(max_records, timeout_s)
        except KafkaException as error:
            self._on_error(error.args[0])
            messages = []
        records = [message for message in messages if message.error() is None]
        if len(records) != len(messages):
            self._on_events(message for message in messages if message.error() is not None)
        if self._stop is not None:  # what it says may follow from a topic that is another one
            raise StopProcessing(self._topics.changed_by_now() or self._stop)
        if changed := self._topics.changed():
            raise StopProcessing(changed)
        if records:
            self._error_log.over()
        wanted = self._wanted(records)
        self._take_identity()
        # The client's stubs allow for more headers.
        return cast("dict[int, list[RawRecord]]", wanted)

    def _take_identity(self) -> None:
        """The new protocol tells a member that is given nothing so by its epoch alone."""
        found = fencing_metadata(self._consumer)
        if self._told_by_epoch and self._member is not None and found is not None:
            self._joined = True
        self._member = found

    def committed(self, partition: int, timeout_s: float) -> CommittedOffset | None:
        wanted = [TopicPartition(self._topic, partition)]
        try:
            (found,) = self._consumer.committed(wanted, timeout_s)
        except KafkaException as error:
            _log.debug("no stable offset yet", extra={"partition": partition, "why": error})
            return None
        if found.error is not None:
            return None
        mine = self._assigned.get(partition)
        if mine is not None:
            mine.stable = True
            mine.committed = max(found.offset, 0)
        return CommittedOffset(max(found.offset, -1), found.metadata or "")

    def start(self, partition: int, offset: int) -> None:
        mine = self._assigned.get(partition)
        if mine is not None:
            mine.end_seen = None
            mine.paused = False
            self._seek(partition, mine, offset)

    def _seek(self, partition: int, mine: _Assigned, offset: int) -> None:
        """Right after an assignment the client is not able to yet: then the next poll tries."""
        place = TopicPartition(self._topic, partition, offset if offset >= 0 else OFFSET_BEGINNING)
        try:
            self._consumer.seek(place)
        except KafkaException as error:
            _log.debug("partition not started yet", extra={"partition": partition, "why": error})
            mine.next_offset = None
            mine.pending = offset
            return
        mine.next_offset = max(offset, 0)
        mine.pending = None
        if not mine.paused:
            self._consumer.resume([place])

    def pause(self, partitions: Collection[int]) -> None:
        mine = self._assigned.keys() & set(partitions)
        for partition in mine:
            self._assigned[partition].paused = True
        self._consumer.pause(self._places(mine))

    def resume(self, partitions: Collection[int]) -> None:
        mine = self._assigned.keys() & set(partitions)
        for partition in mine:
            self._assigned[partition].paused = False
        started = [p for p in mine if self._assigned[p].next_offset is not None]
        self._consumer.resume(self._places(started))

    def joined(self) -> bool:
        return self._joined and not self._topics.gone()

    def silent_s(self) -> float:
        # Where Kafka tells no ids, only the ends are asked for.
        return min(self._topics.silent_s(), self._log_ends.silent_s())

    def at_end(self, partition: int) -> bool:
        mine = self._assigned.get(partition)
        return mine is not None and mine.end_seen is not None and mine.reached() <= mine.end_seen

    def lag(self) -> Mapping[int, int]:
        lag = {}
        for partition, end in self._log_ends.latest(self._assigned).items():
            mine = self._assigned[partition]
            lag[partition] = max(0, end - max(mine.reached(), mine.end_seen or 0))
        return lag

    def rejoin(self) -> None:
        listener = self._listener
        self._leaving = True
        self._leave()
        self._consumer = built(Consumer, self._config)
        self._forget()
        if listener is not None:
            self.subscribe(listener)

    def close(self) -> None:
        self._leave()
        self._forget()

    def _is_away(self) -> bool:
        silent_s = self.silent_s()
        return AWAY_S < silent_s < float("inf")

    def _leave(self) -> None:
        """In the middle of a rebalance the group would not hear of it: that is awaited."""
        if not self._told_by_epoch and self._listener is not None and not self._is_away():
            with contextlib.suppress(RuntimeError):  # the client is closed already
                self._await_rebalance(self._monotonic_s() + REBALANCE_WAIT_S)
        self._consumer.close()

    def _await_rebalance(self, until_s: float) -> None:
        watch = RebalanceWatch(*self._where)
        while self._monotonic_s() < until_s and not (self._joined and watch.is_settled()):
            self._consumer.pause(self._places(self._assigned))
            self._consumer.poll(0.2)  # what it hands out is read again by the next owner

    # -- what the outbox asks ----------------------------------------------------------------

    def assigned(self) -> Collection[int]:
        """The partitions that are ours, as of the last poll."""
        return self._assigned.keys()

    def is_stable(self, partition: int) -> bool:
        """Whether `committed` has answered for the partition since it became ours."""
        mine = self._assigned.get(partition)
        return mine is not None and mine.stable

    def member(self) -> bytes | None:
        """Our identity in the group as of the last poll, for a transaction's offsets. None while
        we are not a member: a broker would take such a transaction without any check.
        """
        return self._member if self._joined and self._assigned else None

    # -- rebalances --------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        fresh = [TopicPartition(self._topic, p.partition, OFFSET_BEGINNING) for p in places]
        consumer.incremental_assign(fresh)
        consumer.pause(fresh)
        self._joined = True
        partitions = [place.partition for place in places]
        if self._partitions is not None and max(partitions, default=-1) >= self._partitions:
            self._stop = self._grown(max(partitions) + 1)
            return  # they stay paused: nothing of them is read before `poll` raises
        self._assigned.update((partition, _Assigned()) for partition in partitions)
        if partitions and self._listener is not None and not self._leaving:
            self._listener.assigned(partitions)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._member = fencing_metadata(consumer)  # the generation has changed since the poll
        partitions = [place.partition for place in places]
        try:
            if partitions and self._listener is not None and not self._leaving:
                self._listener.revoked(partitions)
        finally:
            for partition in partitions:
                self._assigned.pop(partition, None)
            consumer.incremental_unassign(places)

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._member = None
        partitions = [place.partition for place in places]
        try:
            if partitions and self._listener is not None and not self._leaving:
                self._listener.lost(partitions)
        finally:
            for partition in partitions:
                self._assigned.pop(partition, None)
            consumer.incremental_unassign(places)

    # -- details -----------------------------------------------------------------------------

    def _wanted(self, records: list[Message]) -> dict[int, list[Message]]:
        """Those of started partitions, each once and in order, by partition.

        Around a rebalance the client may hand out records of partitions that are not ours any more.
        And it may go back to a partition's beginning, for which it asked at the assignment: an
        answer that comes after `start` makes it ask again, and then begin there (librdkafka 2.16,
        `rd_kafka_toppar_handle_Offset`). Then it is told once more where to read.
        """
        wanted: dict[int, list[Message]] = {}
        behind: set[int] = set()
        for partition, run in groupby(records, _partition):  # they come in runs
            mine = self._assigned.get(partition)
            if mine is None or mine.next_offset is None:
                continue
            kept = wanted.setdefault(partition, [])
            for record in run:
                offset = record.offset()
                if offset is None:
                    continue
                if offset < mine.next_offset:
                    behind.add(partition)
                    continue
                mine.next_offset = offset + 1
                kept.append(record)
            if not kept:
                del wanted[partition]
        for partition in behind:
            mine = self._assigned[partition]
            if mine.next_offset is not None:
                self._seek(partition, mine, mine.next_offset)
        return wanted

    def _on_events(self, events: Iterable[Message]) -> None:
        for event in events:
            error, partition, offset = event.error(), event.partition(), event.offset()
            if error is None:
                continue
            mine = None if partition is None else self._assigned.get(partition)
            started = mine if mine is not None and mine.next_offset is not None else None
            if error.code() == error_codes.PARTITION_EOF:
                if started is not None and offset is not None:
                    started.end_seen = offset
                    self._error_log.over()
            elif error.code() in _DATA_LOST:
                if started is not None:
                    self._stop = self._lost_data(partition, error)
            else:
                self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        """Also called by the client itself, from inside `consume`."""
        if error.fatal():
            self._stop = f"the Kafka client can't go on: {error.str()}; start the process again"
            return
        self._error_log.tell(error)

    def _lost_data(self, partition: int | None, error: KafkaError) -> str:
        group = self._config["group.id"]
        return (
            f"events were deleted before they were read: partition {partition} of {self._topic} "
            f"no longer holds the offset where group {group} stands ({error.str()}). To go on "
            f"with what is left: kafka-consumer-groups.sh --reset-offsets --to-earliest "
            f"--group {group} --topic {self._topic}:{partition} --execute"
        )

    def _grown(self, found: int) -> str:
        return (
            f"{self._topic} has been given more partitions: at least {found}, and it had "
            f"{self._partitions} at the start. Nothing of the new ones was read, and nothing is "
            "lost: what is owed to Salesforce stays owed. Stop the other processes too, and start "
            "again: the start says what to do next (docs/partitions.md)"
        )

    def _places(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

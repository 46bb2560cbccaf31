"""Reading a status partition back, up to where it ended when the restore began.

The mark is the log's end with open transactions included: a read-committed reader's own "end"
stands still before a dead owner's open transaction, and what lies behind it would be missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, Protocol, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from processor.core.events import MessageState
from processor.core.mark import HEADER
from processor.errors import Rejected, StopProcessing, StoreFailed, Unavailable
from processor.kafka.client import error_codes
from processor.kafka.client.error_log import ErrorLog
from processor.kafka.client.options import Options, built, consumer_options
from processor.kafka.group.offsets import Answer, Offsets
from processor.kafka.headers import headers_of
from processor.ports import RawRecord, Restored

MAX_BUFFERED: Final = 50_000  # records held for a partition while another one is stepped


def last_mark(messages: Sequence[Message]) -> str:
    """The last mark among records of a status partition, in order; "": there is none. Only the last
    record of a transaction has one, and records that are not ours have none.
    """
    for message in reversed(messages):
        if message.error() is None:
            for name, value in headers_of(cast("RawRecord", message)):
                if name == HEADER and value is not None:
                    return value.decode(errors="replace")
    return ""


class StatusDecoder(Protocol):
    """The value of a status record -> the message's state. Raises Rejected."""

    def decode(self, value: bytes) -> MessageState: ...


_ANY: Final = MessageState("", {220: 0}, 220, None, 0, None, 0, 0, 0)


class KeysOnly:
    """A codec for who wants to know which messages there are, and nothing of them."""

    def encode(self, state: MessageState) -> bytes:
        raise RuntimeError(f"no status is written here, and this was to be one: {state.version}")

    def decode(self, value: bytes) -> MessageState:  # noqa: ARG002 - that is the point
        return _ANY


class StatusReader:
    """One client for all restores under way; none while there are none."""

    def __init__(self, bootstrap_servers: str, options: Options, group_id: str, topic: str) -> None:
        self.error_log = ErrorLog("read statuses")
        self._topic = topic
        self._config: dict[str, object] = {
            "fetch.wait.max.ms": 100,
            **consumer_options(bootstrap_servers, options),
            "group.id": group_id,  # never joined; librdkafka wants one
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "error_cb": self.error_log.tell,
        }
        for of_groups in ("session.timeout.ms", "heartbeat.interval.ms"):
            self._config.pop(of_groups, None)
        self._consumer: Consumer | None = None
        self._read: dict[int, deque[Message]] = {}
        self._paused: set[int] = set()

    def open(self, partition: int, offset: int) -> None:
        """Read the partition from the offset on. (librdkafka would look for the beginning by
        itself, but tries half a second after it has met the partition's leader.)
        """
        self.forget(partition)
        if self._consumer is None:
            self._consumer = built(Consumer, self._config)
        self._read[partition] = deque()
        place = TopicPartition(self._topic, partition, offset)
        self._consumer.incremental_assign([place])
        self._consumer.resume([place])

    def take(self, partition: int, max_records: int, timeout_s: float) -> list[Message]:
        """The next records and events of the partition, in order."""
        if self._consumer is None:
            raise RuntimeError("a restore goes on after the reader was closed")
        mine = self._read[partition]
        if mine:
            return [mine.popleft() for _ in range(min(max_records, len(mine)))]
        taken = []
        for message in self._consumer.consume(max_records, timeout_s):
            number = message.partition()
            if number == partition:
                taken.append(message)
            elif number is not None and (kept := self._read.get(number)) is not None:
                kept.append(message)
        self._hold_back(partition)
        return taken

    def forget(self, partition: int) -> None:
        """Stop reading the partition."""
        if self._read.pop(partition, None) is not None and self._consumer is not None:
            self._paused.discard(partition)
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            if not self._read:
                self.close()

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None
        self._read.clear()
        self._paused.clear()

    def _hold_back(self, stepped: int) -> None:
        """Keep what is read for others within bounds."""
        if self._consumer is None:
            return
        full = {p for p, kept in self._read.items() if p != stepped and len(kept) >= MAX_BUFFERED}
        if new := full - self._paused:
            self._consumer.pause([TopicPartition(self._topic, p) for p in new])
        if empty := {p for p in self._paused - full if not self._read[p] or p == stepped}:
            self._consumer.resume([TopicPartition(self._topic, p) for p in empty])
            self._paused -= empty
        self._paused |= new


class KafkaRestore:
    """Implements `ports.Restore`."""

    def __init__(
        self,
        reader: StatusReader,
        offsets: Offsets,
        decoder: StatusDecoder,
        topic: str,
        partition: int,
        checkpoint: int | None,
    ) -> None:
        self._reader = reader
        self._offsets = offsets
        self._decoder = decoder
        self._topic = topic
        self._partition = partition
        self._position = checkpoint or 0
        self._begin_answer: Answer | None = None
        if checkpoint is None:
            self._begin_answer = offsets.ask_low_watermark(topic, partition)
        self._end_answer: Answer = offsets.ask_high_watermark(topic, partition)
        self._end: int | None = None
        self._reading = False

    def step(self, max_records: int, timeout_s: float) -> Restored:
        if self._end is None:
            self._end = self._ask_bounds(timeout_s)
            if self._end is None:
                return Restored([], self._position, self._position, done=False)
            if self._position > self._end:
                raise StoreFailed(
                    f"the store of partition {self._partition} is ahead of the status topic"
                )
        if self._position >= self._end:
            return self._finished([])
        if not self._reading:
            self._reader.open(self._partition, self._position)
            self._reading = True
        messages = self._reader.take(self._partition, max_records, timeout_s)
        changes = self._changes(messages)
        if changes:
            self._reader.error_log.over()
        mark = last_mark(messages)
        if self._position >= self._end:
            return self._finished(changes, mark)
        return Restored(changes, self._position, self._end, done=False, mark=mark)

    def close(self) -> None:
        if self._reading:
            self._reading = False
            self._reader.forget(self._partition)

    def _finished(self, changes: list[tuple[str, MessageState | None]], mark: str = "") -> Restored:
        self.close()
        return Restored(changes, self._position, self._position, done=True, mark=mark)

    def _ask_bounds(self, timeout_s: float) -> int | None:
        """The end, once the beginning is known too."""
        try:
            if self._begin_answer is not None:
                self._position = self._begin_answer.result(timeout_s).offset
                self._begin_answer = None
            return self._end_answer.result(timeout_s).offset
        except FutureTimeoutError:
            return None
        except KafkaException as error:
            self._offsets.renew()
            why = error.args[0].str()
            raise Unavailable(
                f"{self._topic} does not tell where it begins and ends: {why}"
            ) from None

    def _on_event(self, error: KafkaError, offset: int | None) -> None:
        if error.code() == error_codes.PARTITION_EOF:
            # Positions stop before a trailing transaction marker; the end does not.
            if offset is not None:
                self._position = max(self._position, offset)
        elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, error_codes.AUTO_OFFSET_RESET):
            raise StoreFailed(
                f"the status topic no longer holds offset {self._position} of partition "
                f"{self._partition}, where the store stands"
            )
        else:
            self._reader.error_log.tell(error)

    def _changes(self, messages: Sequence[Message]) -> list[tuple[str, MessageState | None]]:
        """What the records say that are not known yet."""
        changes: list[tuple[str, MessageState | None]] = []
        decode = self._decoder.decode
        for message in messages:
            error, offset = message.error(), message.offset()
            if error is not None:
                self._on_event(error, offset)
            elif offset is not None and offset >= self._position:
                key, value = message.key(), message.value()
                if key is None:
                    raise StopProcessing(
                        f"{self._place(message)} has no key: somebody else writes to the status "
                        "topic"
                    )
                try:
                    changes.append((key.decode(), None if value is None else decode(value)))
                except (Rejected, UnicodeDecodeError) as refusal:
                    raise self._refused(message, refusal) from refusal
                self._position = offset + 1
        return changes

    def _refused(self, message: Message, error: Exception) -> StopProcessing:
        return StopProcessing(
            f"{self._place(message)} is not a status record that this version can read "
            f"({error}): run the version that wrote it, or start with a new status topic "
            "and group"
        )

    def _place(self, message: Message) -> str:
        return f"{self._topic}[{self._partition}] at {message.offset()}"

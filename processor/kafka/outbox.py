"""The transactional outbox: statuses, dead letters and the input's offsets, all or nothing.

Kafka fences members of a group, not partitions, and only in transactions that hold offsets. So
no transaction is begun that does not carry the position of every partition it writes for, as the
member that the last poll left us with.
"""

from __future__ import annotations

import logging
import time
import uuid
from random import SystemRandom
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import KafkaError, Message, TopicPartition

from processor.core.events import MessageState
from processor.core.mark import HEADER, Identity, Mark
from processor.errors import StopProcessing, Unavailable
from processor.kafka.client.options import Options, checked
from processor.kafka.client.producer import (
    TRANSACTION_TIMEOUT_MS,
    Dead,
    FencedOff,
    Moving,
    MustAbort,
    TransactionalProducer,
)
from processor.kafka.dead_letters import DEFAULT_MAX_BYTES, of_record, of_status
from processor.kafka.group.membership import Group
from processor.kafka.group.offsets import Offsets
from processor.kafka.group.rivals import Rivals
from processor.kafka.restore import KafkaRestore, StatusReader
from processor.ports import Aborted, Committed, DeadLetter, Fenced, Restore, Transaction

_log = logging.getLogger(__name__)

_ID_PREFIX: Final = "sms-status-processor"
_NOBODY: Final = Identity("", "", "", "")


class Names(NamedTuple):
    """The group that reads, and the topics that are read and written."""

    group_id: str
    events: str
    status: str
    dead_letter: str


class MaxBytes(NamedTuple):
    """`max.message.bytes` of the topics that are written."""

    status: int = DEFAULT_MAX_BYTES
    dead_letter: int = DEFAULT_MAX_BYTES


KAFKAS_MAX_BYTES: Final = MaxBytes()


class Codec(Protocol):
    """A message's state <-> the value of its status record."""

    def encode(self, state: MessageState) -> bytes: ...

    def decode(self, value: bytes) -> MessageState:
        """Raises Rejected."""


def _mark_of(transaction: Transaction, partition: int) -> str:
    """Without one, what is surely known."""
    position = transaction.positions[partition]
    return transaction.marks.get(partition) or Mark(_NOBODY, *position).text()


def drawn_id() -> str:
    """A transactional id for an instance without a stable name."""
    return f"{_ID_PREFIX}-{uuid.uuid4()}"


class KafkaOutbox:
    """Implements `ports.Outbox`. Call `renew` once before subscribing: it ends the transaction
    that an earlier process of this `transactional_id` left open, and nobody waits for it then.

    `transactional_id` is the instance's stable name, where it has one; else one is drawn.
    `transaction_timeout_ms` is only changed by tests. Raises ConfigError for bad options.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: Group,
        codec: Codec,
        names: Names,
        *,
        options: Options | None = None,
        transactional_id: str | None = None,
        max_bytes: MaxBytes = KAFKAS_MAX_BYTES,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._options = checked(options or {}, group_protocol=None)
        self._group = group
        self._codec = codec
        self._names = names
        self._max_bytes = max_bytes
        self._transactional_id = transactional_id or drawn_id()
        self._transaction_timeout_ms = transaction_timeout_ms
        self._offsets = Offsets(bootstrap_servers, self._options)
        self._reader = StatusReader(bootstrap_servers, self._options, names.group_id, names.status)
        self._producer: TransactionalProducer | None = None
        self._rivals = Rivals(transactional_id, time.monotonic, SystemRandom())
        self._until_s = float("inf")  # when we are to have left

    def hurry(self, within_s: float) -> None:
        self._until_s = time.monotonic() + within_s

    def renew(self) -> None:
        self._discard()
        if wait_s := self._rivals.wait_s():
            raise Unavailable("it was fenced again and again", wait_s)
        producer = TransactionalProducer(
            self._bootstrap_servers,
            self._options,
            self._transactional_id,
            self._transaction_timeout_ms,
            topics_max_bytes=self._max_bytes,
            until_s=lambda: self._until_s,
        )
        try:
            producer.open()
        except Unavailable:
            producer.discard()
            raise
        self._rivals.opened()
        self._producer = producer

    def commit(self, transaction: Transaction) -> Committed | Aborted | Fenced:
        self._require_sound(transaction)
        if not transaction.positions:
            return Committed({})
        member = self._group.member()
        if member is None:
            return Aborted("we are no member of the group now")
        if self._producer is None and self._until_s < float("inf"):
            return Aborted("no producer, and no time for a new one")
        try:
            if self._producer is None:
                self.renew()
            places = self._places(transaction)
        except Unavailable as error:
            return Aborted(str(error))
        if self._producer is None:
            raise RuntimeError("renew has left no producer")
        try:
            return self._write(self._producer, transaction, places, member)
        except MustAbort as error:
            return self._abort(self._producer, str(error), moving=isinstance(error, Moving))
        except StopProcessing:
            self._abort(self._producer, "a record was refused")
            raise
        except Dead as error:
            if isinstance(error, FencedOff):
                self._rivals.fenced()
            self._discard()
            return Fenced(str(error))

    def restore(self, partition: int, checkpoint: int | None) -> Restore:
        if not self._group.is_stable(partition):
            raise RuntimeError(f"partition {partition} is restored before its stable offset came")
        return KafkaRestore(
            self._reader, self._offsets, self._codec, self._names.status, partition, checkpoint
        )

    def close(self) -> None:
        self._discard()
        self._reader.close()

    # -- one transaction ---------------------------------------------------------------------

    def _require_sound(self, transaction: Transaction) -> None:
        """What the fence stands on. A breach is a bug of the caller, not of the day."""
        written = transaction.statuses.keys() | transaction.tombstones.keys()
        written |= {letter.partition for letter in transaction.dead_letters}
        if bare := written - transaction.positions.keys():
            raise RuntimeError(f"a transaction without the positions of partitions {sorted(bare)}")
        if foreign := transaction.positions.keys() - set(self._group.assigned()):
            raise RuntimeError(f"a transaction for partitions {sorted(foreign)}, not ours")

    def _places(self, transaction: Transaction) -> list[TopicPartition]:
        """The offsets to send. None may be negative: such are left out on the way, and with
        them the fence. A partition of which nothing was read yet stands at its beginning.
        """
        return [
            TopicPartition(
                self._names.events,
                partition,
                position.offset
                if position.offset >= 0
                else self._offsets.beginning(self._names.events, partition),
                _mark_of(transaction, partition),
            )
            for partition, position in transaction.positions.items()
        ]

    def _write(
        self,
        producer: TransactionalProducer,
        transaction: Transaction,
        places: list[TopicPartition],
        member: bytes,
    ) -> Committed:
        ends: dict[int, int] = {}
        offsets: dict[str, int] = {}  # of the statuses that a dead letter points to
        refused = {
            letter.state.message_id: letter.state
            for letter in transaction.dead_letters
            if letter.state is not None
        }

        def note_end(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                ends[partition] = max(ends.get(partition, 0), offset + 1)

        def note_offset(error: KafkaError | None, message: Message) -> None:
            key, offset = message.key(), message.offset()
            note_end(error, message)
            if error is None and key is not None and offset is not None:
                offsets[key.decode()] = offset

        producer.begin()
        for partition in transaction.statuses.keys() | transaction.tombstones.keys():
            messages = self._messages(transaction, partition)
            if not messages:
                continue
            if refused:
                for message in messages:
                    if message["key"] in refused:
                        message["callback"] = note_offset
            last = messages.pop()
            producer.produce_all(self._names.status, partition, messages)
            producer.produce(
                self._names.status,
                last["key"],
                last["value"],
                [(HEADER, _mark_of(transaction, partition))],
                partition=partition,
                callback=last.get("callback", note_end),
            )
        if refused:
            producer.flush()
        for letter in transaction.dead_letters:
            self._produce_letter(producer, letter, offsets)
        producer.send_offsets(places, member)
        producer.commit()
        return Committed(ends)

    def _messages(self, transaction: Transaction, partition: int) -> list[dict[str, Any]]:
        """Statuses last: compaction removes a tombstone after a while, and with it its mark."""
        encode = self._codec.encode
        messages: list[dict[str, Any]] = [
            {"key": key, "value": None} for key in transaction.tombstones.get(partition, ())
        ]
        messages += [
            {"key": state.message_id, "value": encode(state)}
            for state in transaction.statuses.get(partition, ())
        ]
        return messages

    def _produce_letter(
        self, producer: TransactionalProducer, letter: DeadLetter, offsets: dict[str, int]
    ) -> None:
        if letter.record is not None:
            made = of_record(letter, letter.record, self._max_bytes.dead_letter)
        elif letter.state is not None:
            made = of_status(
                letter,
                letter.state.message_id,
                self._codec.encode(letter.state),
                self._names.status,
                offsets.get(letter.state.message_id),
                self._max_bytes.dead_letter,
            )
        else:
            raise RuntimeError("a dead letter with neither a record nor a state")
        producer.produce(
            self._names.dead_letter, made.key, made.value, made.headers, made.timestamp_ms
        )

    def _abort(
        self, producer: TransactionalProducer, why: str, *, moving: bool = False
    ) -> Aborted | Fenced:
        try:
            producer.abort()
        except Dead as error:
            self._discard()
            return Fenced(f"{why}; then {error}")
        return Aborted(why, moving)

    def _discard(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None

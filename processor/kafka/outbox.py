"""The transactional outbox: statuses, dead letters and the input's offsets, all or nothing."""

from __future__ import annotations

import time
import uuid
from random import SystemRandom
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import KafkaError, Message

from processor.core.events import MessageState
from processor.core.mark import HEADER, Identity, Mark
from processor.errors import Unavailable
from processor.kafka.client.options import Options, checked
from processor.kafka.client.producer import (
    TRANSACTION_TIMEOUT_MS,
    TransactionalProducer,
)
from processor.kafka.dead_letters import DEFAULT_MAX_BYTES, of_record, of_status
from processor.kafka.group.membership import Group
from processor.kafka.group.offsets import Offsets
from processor.kafka.group.rivals import Rivals
from processor.kafka.restore import KafkaRestore, StatusReader
from processor.kafka.transactions import Producer, Transactions
from processor.ports import (
    Aborted,
    Committed,
    CommittedOffset,
    DeadLetter,
    Fenced,
    Restore,
    Transaction,
)

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
        options: Options,
        transactional_id: str | None,
        max_bytes: MaxBytes = KAFKAS_MAX_BYTES,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> None:
        user = checked(options, group_protocol=None)
        self._group = group
        self._codec = codec
        self._names = names
        self._max_bytes = max_bytes
        self._offsets = Offsets(bootstrap_servers, user)
        self._reader = StatusReader(bootstrap_servers, user, names.group_id, names.status)
        name = transactional_id or drawn_id()
        self._transactions = Transactions(
            group,
            names.events,
            self._offsets.beginning,
            lambda until_s: TransactionalProducer(
                bootstrap_servers,
                user,
                name,
                transaction_timeout_ms,
                topics_max_bytes=max_bytes,
                until_s=until_s,
            ),
            Rivals(transactional_id, time.monotonic, SystemRandom()),
        )

    def hurry(self, within_s: float) -> None:
        self._transactions.hurry(within_s)

    def renew(self) -> None:
        self._transactions.renew()

    def commit(self, transaction: Transaction) -> Committed | Aborted | Fenced:
        written = transaction.statuses.keys() | transaction.tombstones.keys()
        written |= {letter.partition for letter in transaction.dead_letters}
        positions = {
            partition: CommittedOffset(position.offset, _mark_of(transaction, partition))
            for partition, position in transaction.positions.items()
        }
        try:
            return self._transactions.commit(
                positions, written, lambda producer: self._write(producer, transaction)
            )
        except Unavailable as error:
            return Aborted(str(error))

    def restore(self, partition: int, checkpoint: int | None) -> Restore:
        if not self._group.is_stable(partition):
            raise RuntimeError(f"partition {partition} is restored before its stable offset came")
        return KafkaRestore(
            self._reader, self._offsets, self._codec, self._names.status, partition, checkpoint
        )

    def close(self) -> None:
        self._transactions.discard()
        self._reader.close()

    # -- one transaction ---------------------------------------------------------------------

    def _write(self, producer: Producer, transaction: Transaction) -> Committed:
        ends: dict[int, int] = {}
        offsets: dict[str, int] = {}  # of the statuses that a dead letter points to
        refused = {
            letter.state.message_id
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
        self, producer: Producer, letter: DeadLetter, offsets: dict[str, int]
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

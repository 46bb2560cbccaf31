"""A transactional producer whose errors are sorted by what one can do about them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from processor.errors import ConfigError, ProcessorError, StopProcessing, Unavailable
from processor.kafka.client import error_codes
from processor.kafka.client.deadline import DeadlineCaller, StuckError
from processor.kafka.client.options import Options, Value, built, producer_options
from processor.kafka.dead_letters import DEFAULT_MAX_BYTES

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS: Final = 10_000  # a dead process's transaction is aborted after it
INIT_TIMEOUT_S: Final = 20.0
CALL_TIMEOUT_S: Final = 5.0  # of one call to the coordinator
SHORTEST_CALL_S: Final = 1.0
BATCH_BYTES: Final = 1_000_000  # librdkafka's default
BATCH_OVERHEAD_BYTES: Final = 512  # of a batch and its request, beside its records
RECORD_MAX_BYTES: Final = 100_000_000  # the topic's own limit decides, see dead_letters
UNASSIGNED: Final = -1  # the partitioner chooses: librdkafka's RD_KAFKA_PARTITION_UA
FINISH_TIMEOUT_S: Final = 30.0  # of all attempts to end a transaction, or to queue a record

TOO_LARGE: Final = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
    )
)
_REFUSED: Final = TOO_LARGE | frozenset(
    (
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        error_codes.UNKNOWN_TOPIC,
        error_codes.UNKNOWN_PARTITION,
    )
)
"""The broker will refuse the same records again: somebody has to change something."""


_MOVING: Final = frozenset(
    (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    )
)
_FENCED: Final = frozenset(
    (error_codes.FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
)


def batching(options: Options, *limits_bytes: int) -> dict[str, Value]:
    """Properties for a producer to topics whose `max.message.bytes` are these: the broker holds a
    topic's limit against each batch, and not against each record.

    A record that is larger by itself is sent, and the broker has the last word: it may be small
    enough when it is compressed.
    """
    smallest = min(limits_bytes)
    room = max(1, smallest - smallest // 50 - BATCH_OVERHEAD_BYTES)
    try:
        wanted = int(options.get("batch.size", BATCH_BYTES))
    except ValueError:
        return {}  # librdkafka will say what is wrong with it
    return {"batch.size": min(wanted, room), "message.max.bytes": RECORD_MAX_BYTES}


class MustAbort(ProcessorError):
    """The transaction can't be committed, but aborted: nothing of it will be visible."""


class Moving(MustAbort):
    """The group is moving partitions between its members: that is why, and no fault."""


class Dead(ProcessorError):
    """The outcome is unknown, or the producer can do nothing any more."""


class FencedOff(Dead):
    """A newer producer has this one's transactional id (or its own transaction took too long)."""


def _sorted(error: KafkaError, doing: str) -> ProcessorError:
    text = f"{doing}: {error.name()}: {error.str()}"
    if error.code() in TOO_LARGE:
        return StopProcessing(
            f"Kafka refuses a record for its size ({text}): raise max.message.bytes of that topic, "
            "or allow DescribeConfigs on it where we may not read that"
        )
    if error.code() in _REFUSED:
        return StopProcessing(f"Kafka refuses what has to be written ({text}); correct that")
    if error.code() in _FENCED:
        return FencedOff(text)
    if error.fatal():
        return Dead(text)
    if error.txn_requires_abort():
        return Moving(text) if error.code() in _MOVING else MustAbort(text)
    return Dead(text)


class TransactionalProducer:
    """One librdkafka producer, from `open` until it is discarded.

    `topics_max_bytes`: `max.message.bytes` of each topic that it writes. `until_s`: when all calls
    have to be over (as `time.monotonic`), which may become earlier while one is made.
    Raises ConfigError for options that librdkafka does not take.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        options: Options,
        transactional_id: str,
        timeout_ms: int = TRANSACTION_TIMEOUT_MS,
        *,
        topics_max_bytes: Sequence[int] = (DEFAULT_MAX_BYTES,),
        until_s: Callable[[], float] = lambda: float("inf"),
    ) -> None:
        config = {
            "linger.ms": 50,  # commit and flush do not wait for it
            "batch.num.messages": 50_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 300_000,
            "queue.buffering.max.kbytes": 262_144,
            **producer_options(bootstrap_servers, options),
            **batching(options, *topics_max_bytes),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "allow.auto.create.topics": False,
            # Bootstrapping anew loses the transaction coordinator for ever, and the call that
            # waits for it never returns (librdkafka 2.16). Without it a transaction fails, and
            # the next producer bootstraps.
            "metadata.recovery.strategy": "none",
            "error_cb": self._on_error,
        }
        self._producer = built(Producer, config)
        self._refusals: list[tuple[KafkaError, str]] = []
        self._within = DeadlineCaller("kafka-transactions")
        self._stuck = False
        self._until_s = until_s

    def open(self) -> None:
        """Fence every earlier producer of this id, and end its transaction.

        Raises Unavailable, and ConfigError where the id is not allowed to us.
        """
        deadline = time.monotonic() + INIT_TIMEOUT_S
        try:
            while not self._initialized(min(deadline, self._until_s())):
                pass
        except StuckError:
            raise Unavailable("no transactions: no answer in time") from None
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            text = f"no transactions: {error.name()}: {error.str()}"
            if error.code() in _REFUSED:
                raise ConfigError(text) from None
            raise Unavailable(text) from None

    def _initialized(self, deadline: float) -> bool:
        """An attempt, which the next one resumes."""
        call_s = self._left_s(CALL_TIMEOUT_S)
        try:
            self._within(lambda: self._producer.init_transactions(call_s), call_s)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if error.retriable() and time.monotonic() < deadline:
                return False
            raise
        return True

    def begin(self) -> None:
        self._refusals.clear()
        self._call(self._producer.begin_transaction, "begin")

    def produce_all(self, topic: str, partition: int, messages: list[dict[str, Any]]) -> None:
        """Queue messages (`key`, `value`, perhaps `callback`) in their order."""
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        left = messages
        while left:
            try:
                queued = self._producer.produce_batch(topic, left, partition)
            except BufferError:
                queued = 0
            except KafkaException as failure:
                raise _sorted(failure.args[0], f"produce to {topic}") from None
            if queued == len(left):
                return
            left = self._not_queued(left, topic)
            self._make_room(deadline)

    @staticmethod
    def _not_queued(messages: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
        left = []
        for message in messages:
            error: KafkaError | None = message.pop("_error", None)
            if error is None:
                continue
            if error.code() != error_codes.QUEUE_FULL:
                raise _sorted(error, f"produce to {topic}")
            left.append(message)
        return left

    def produce(
        self,
        topic: str,
        key: bytes | str | None,
        value: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        timestamp_ms: int = 0,
        *,
        partition: int = UNASSIGNED,
        callback: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Queue one record with headers. Without a partition the key decides; `timestamp_ms` 0:
        now.
        """
        deadline = time.monotonic() + FINISH_TIMEOUT_S

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._on_delivery(error, message)
            if callback is not None:
                callback(error, message)

        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    on_delivery=delivered,
                    timestamp=timestamp_ms,
                    headers=headers,
                )
                return
            except BufferError:
                self._make_room(deadline)
            except KafkaException as failure:
                raise _sorted(failure.args[0], f"produce to {topic}") from None

    def flush(self) -> None:
        """Wait until everything queued was delivered. Raises MustAbort otherwise."""
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while self._call(lambda: self._producer.flush(SHORTEST_CALL_S), "flush"):
            if time.monotonic() > min(deadline, self._until_s()):
                raise MustAbort("records were not delivered in time")
        self._raise_refusal()

    def send_offsets(self, places: Sequence[TopicPartition], member: bytes) -> None:
        """Make these positions part of the transaction, sent as this member of the group."""
        self._persist(
            lambda: self._producer.send_offsets_to_transaction(
                list(places), member, self._left_s(CALL_TIMEOUT_S)
            ),
            "send offsets",
        )

    def commit(self) -> None:
        """Raises MustAbort, Dead, and StopProcessing where a record was refused for good."""
        try:
            self._persist(
                lambda: self._producer.commit_transaction(self._left_s(CALL_TIMEOUT_S)), "commit"
            )
        except MustAbort:
            self._raise_refusal()
            raise

    def abort(self) -> None:
        """Raises Dead."""
        try:
            self._persist(
                lambda: self._producer.abort_transaction(self._left_s(CALL_TIMEOUT_S)), "abort"
            )
        except ProcessorError as error:
            raise Dead(str(error)) from None

    def discard(self) -> None:
        """Let go of it without waiting for anything. A stuck one is not touched any more."""
        self._within.close()
        if self._stuck:
            return
        with contextlib.suppress(KafkaException):  # a fenced one says so once more
            self._producer.purge(blocking=False)
            self._producer.poll(0)

    # -- details -----------------------------------------------------------------------------

    def _persist(self, call: Callable[[], None], doing: str) -> None:
        """Repeat a call that may be repeated, within a bound; then its outcome is unknown."""
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while True:
            try:
                self._within(call, CALL_TIMEOUT_S)
                return
            except StuckError:
                self._stuck = True
                raise Dead(f"{doing}: the client does not come back") from None
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.fatal() or error.txn_requires_abort() or not error.retriable():
                    raise _sorted(error, doing) from None
                if time.monotonic() > min(deadline, self._until_s()):
                    raise Dead(f"{doing}: no answer in time ({error.name()})") from None

    def _left_s(self, timeout_s: float) -> float:
        """For one call: no attempt would be worth less than this."""
        return max(SHORTEST_CALL_S, min(timeout_s, self._until_s() - time.monotonic()))

    @staticmethod
    def _call(call: Callable[[], Answer], doing: str) -> Answer:
        try:
            return call()
        except KafkaException as failure:
            raise _sorted(failure.args[0], doing) from None

    def _make_room(self, deadline: float) -> None:
        self._call(lambda: self._producer.poll(0.1), "poll")
        if time.monotonic() > deadline:
            raise MustAbort("the producer's queue stayed full")

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() in _REFUSED:
            size = len(message.value() or b"")
            self._refusals.append((error, f"deliver {size} bytes to {message.topic()}"))

    def _raise_refusal(self) -> None:
        if self._refusals:
            raise _sorted(*self._refusals[0])

    @staticmethod
    def _on_error(error: KafkaError) -> None:
        """What matters comes back from the calls; this says why they take so long."""
        _log.debug("producer error", extra={"reason": error.name(), "why": error.str()})

"""Raw topic -> keyed topic: the same events, each under its message id.

For streams that are not keyed by message id, and for giving an events topic more partitions. The
fence holds here as it does for the outbox (`kafka/transactions.py`), with the position of every
partition that was started. So each record is written exactly once, whatever dies in between.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from processor.core.events import DeliveryEvent
from processor.core.mark import Identity, Mark, parse, where_to_start
from processor.core.report.fields import EARLIEST_STAMP
from processor.errors import ConfigError, Rejection, Unavailable
from processor.kafka.headers import headers_of
from processor.kafka.topics.rules import Found
from processor.kafka.transactions import Producer, Transactions
from processor.ports import (
    Aborted,
    Clock,
    Committed,
    CommittedOffset,
    Decoder,
    Fenced,
    Position,
    RawRecord,
    Source,
)

_log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 5_000
POLL_TIMEOUT_S: Final = 0.5
COMMITTED_TIMEOUT_S: Final = 0.5
ABORTED_WAIT_S: Final = 0.2
TELL_EVERY_S: Final = 10.0
FIRST_EVENTS: Final = 1_000  # that a process looks at before it trusts the topic
LEAST_BAD: Final = 10  # of them; fewer are no sign of anything


class Counts(NamedTuple):
    """Records written, and how many of them under their old key, for want of a message id."""

    written: int
    kept_key: int


def check_target(target: Found) -> None:
    """Raises ConfigError for a topic that would not keep the events as they are."""
    config = target.config or {}
    if config.get("message.timestamp.type", "CreateTime") != "CreateTime":
        raise ConfigError(
            f"{target.name} replaces the records' timestamps, which order events without a stamp: "
            "set message.timestamp.type=CreateTime"
        )
    if "compact" in config.get("cleanup.policy", "delete"):
        raise ConfigError(
            f"{target.name} is compacted, and would keep one report of each message: "
            "set cleanup.policy=delete"
        )


class FirstLook:
    """Of the first events that a process reads, most must be events: else the topic is the wrong
    one, or needs a Schema Registry that is not set, and everything would go into the events topic.
    """

    def __init__(self, raw_topic: str) -> None:
        self._raw_topic = raw_topic
        self._seen = 0
        self._reasons: Counter[str] = Counter()

    def take(self, events: Sequence[DeliveryEvent | Rejection]) -> None:
        """Before these are copied. Raises ConfigError."""
        events = events[: max(0, FIRST_EVENTS - self._seen)]
        self._seen += len(events)
        self._reasons.update(event.reason for event in events if isinstance(event, Rejection))
        bad = self._reasons.total()
        if not events or bad < LEAST_BAD or bad * 2 <= self._seen:
            return
        reasons = ", ".join(f"{reason} {count}" for reason, count in self._reasons.most_common(5))
        raise ConfigError(
            f"{bad} of the first {self._seen} records of {self._raw_topic} can't be decoded as "
            f"events ({reasons}): is it the right topic, and are SCHEMA_REGISTRY__URL and "
            "EVENTS__ENCODING right for it? They were not copied. To copy them all the same, under "
            "their old keys, use --undecodable"
        )


class Rekey:
    """A member of the group that copies. `turn` until it is `drained`, or told to stop."""

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        transactions: Transactions,
        keyed_topic: str,
        identity: Identity,
        clock: Clock,
        first_look: FirstLook | None = None,
    ) -> None:
        self._source, self._decoder, self._transactions = source, decoder, transactions
        self._keyed = keyed_topic
        self._identity = identity
        self._clock = clock
        self._first_look = first_look
        self._found: set[int] = set()  # assigned, not started yet
        self._positions: dict[int, Position] = {}
        self._ended: set[int] = set()
        self._written = self._kept_key = 0
        self._told_s = clock.monotonic_s()
        self._paused_until_s: float | None = None

    # -- called by the source, from within poll ----------------------------------------------

    def assigned(self, partitions: Collection[int]) -> None:
        for partition in sorted(partitions):
            _log.info("partition assigned", extra={"partition": partition})
        self._found.update(partitions)

    def revoked(self, partitions: Collection[int]) -> None:
        """What was read is committed before the next poll: nothing is left to do."""
        for partition in partitions:
            self._found.discard(partition)
            self._positions.pop(partition, None)

    lost = revoked

    # -- the loop ----------------------------------------------------------------------------

    def open(self) -> None:
        """Join. Raises Unavailable, ConfigError."""
        self._transactions.renew()
        self._source.subscribe(self)

    def turn(self) -> None:
        """Copy a batch. Raises StopProcessing when records are refused or were lost, ConfigError
        when most of the first are no events.
        """
        if self._paused_until_s is not None and self._clock.monotonic_s() >= self._paused_until_s:
            self._paused_until_s = None
            self._source.resume(list(self._positions))
        polled = self._source.poll(BATCH_RECORDS, POLL_TIMEOUT_S)
        self._start_found()
        batches = {p: batch for p, batch in polled.items() if p in self._positions}
        if batches:
            self._copy(batches)
        self._ended.update(p for p in self._positions if self._source.at_end(p))
        self._tell()

    def drained(self) -> bool:
        """Whether everything that was there is copied."""
        return self._source.joined() and not self._found and self._ended >= self._positions.keys()

    def close(self) -> Counts:
        """Leave the group; what was copied."""
        self._source.close()
        self._transactions.discard()
        return Counts(self._written, self._kept_key)

    # -- details -----------------------------------------------------------------------------

    def _start_found(self) -> None:
        for partition in list(self._found):
            committed = self._source.committed(partition, COMMITTED_TIMEOUT_S)
            if committed is not None:
                beside = parse(committed.metadata)
                start = where_to_start(committed.offset, beside, None, self._identity)
                if start.warning:
                    _log.warning(
                        "unexpected committed offset",
                        extra={"partition": partition, "why": start.warning},
                    )
                self._found.discard(partition)
                self._ended.discard(partition)
                self._positions[partition] = Position(start.offset, 0)
                self._source.start(partition, start.offset)

    def _copy(self, batches: Mapping[int, Sequence[RawRecord]]) -> None:
        records = [record for batch in batches.values() for record in batch]
        ends = {p: Position((batch[-1].offset() or 0) + 1, 0) for p, batch in batches.items()}
        positions = self._positions | ends
        try:
            events = self._decoder.decode(records)
            if self._first_look is not None:
                self._first_look.take(events)
            outcome = self._transactions.commit(
                {p: CommittedOffset(at.offset, self._mark(at)) for p, at in positions.items()},
                ends,
                lambda producer: self._write(producer, records, events),
            )
        except Unavailable as failure:
            self._read_again(ends, str(failure), failure.retry_after_s)
            return
        match outcome:
            case Committed():
                self._positions = positions
                self._written += len(records)
                self._kept_key += sum(isinstance(event, Rejection) for event in events)
            case Aborted(why):
                self._read_again(ends, why, ABORTED_WAIT_S)
            case Fenced(why):
                self._start_over(why)

    def _write(
        self,
        producer: Producer,
        records: Sequence[RawRecord],
        events: Sequence[DeliveryEvent | Rejection],
    ) -> Committed:
        for record, event in zip(records, events, strict=True):
            key = record.key() if isinstance(event, Rejection) else event.message_id.encode()
            _, timestamp = record.timestamp()
            producer.produce(
                self._keyed,
                key,
                record.value(),
                [*headers_of(record)],
                timestamp if timestamp >= EARLIEST_STAMP else 0,  # 0: now. Before it is none
            )
        return Committed({})

    def _mark(self, position: Position) -> str:
        return Mark(self._identity, *position).text()

    def _read_again(self, partitions: Collection[int], why: str, wait_s: float) -> None:
        _log.warning(
            "batch will be read again",
            extra={"partitions": sorted(partitions), "retry_after_s": wait_s, "why": why},
        )
        for partition in partitions:
            self._source.start(partition, self._positions[partition].offset)
        self._source.pause(list(self._positions))
        self._paused_until_s = self._clock.monotonic_s() + wait_s

    def _start_over(self, why: str) -> None:
        """The outcome is unknown: the committed positions, once they are stable, will tell."""
        _log.warning("rejoining the consumer group", extra={"why": why})
        self._transactions.discard()
        self._positions.clear()
        self._found.clear()
        self._paused_until_s = None
        self._source.rejoin()

    def _tell(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            lag = sum(self._source.lag().values())
            _log.info("records copied", extra={"records": self._written, "lag": lag})

"""Delivery reports -> Avro events on the topic, keyed by message id."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastavro import schemaless_writer

from processor.errors import Rejected, Rejection, Unavailable
from processor.kafka.avro.writer_schema import parse_writer

QUEUE_FULL_WAIT_S: Final = 0.5
FLUSH_STEP_S: Final = 0.5
STALLED_S: Final = 20.0  # without an answer to any record, while some wait for one

_OF_THE_RECORD: Final = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    )
)
"""Delivery errors of one record. Any other would meet the next record too."""


class EventEncoder:
    """Values of `delivery_event.avsc` with a framing (`registry.prefix_for`)."""

    def __init__(self, schema_text: str, prefix: bytes) -> None:
        self._schema = parse_writer(schema_text, None).parsed
        self._prefix = prefix

    def encode(self, report: Mapping[str, object]) -> bytes:
        """`report` as `core.report_shapes.to_avro_report` makes it: times in milliseconds.

        Raises Rejected (`unencodable`) for values that the schema has no room for.
        """
        stream = BytesIO()
        stream.write(self._prefix)
        try:
            schemaless_writer(stream, self._schema, report)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise Rejected("unencodable", type(error).__name__) from error
        return stream.getvalue()


class Summary(NamedTuple):
    """How many reports the broker has acknowledged, and which lines were bad, and why.

    `without_task`: of those that were sent. `old`: how many are older than the retention.
    """

    sent: int
    bad: list[tuple[int, str]]
    without_task: int = 0
    old: int = 0


class Outlook(NamedTuple):
    """How `processor run` will see the reports: where a Task's id is, and before which time (ms)
    a report is older than the retention.
    """

    task_id_key: str = "salesforce_task_id"
    horizon_ms: int = 0


NO_OUTLOOK: Final = Outlook()


class _Deliveries:
    """What the broker said of each record. `failure`: it can take none, so stop."""

    def __init__(self) -> None:
        self.sent = 0
        self.bad: list[tuple[int, str]] = []
        self.failure: str | None = None

    def report(self, line: int, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.sent += 1
        else:
            self.failed(line, error)

    def failed(self, line: int, error: KafkaError) -> None:
        if error.code() in _OF_THE_RECORD:
            self.bad.append((line, f"not accepted: {error.str()}"))
        else:
            self.failure = self.failure or f"line {line} not delivered: {error.str()}"

    @property
    def answered(self) -> int:
        return self.sent + len(self.bad)

    def check(self) -> None:
        if self.failure is not None:
            raise Unavailable(f"{self.failure} ({self.sent} reports were)")


class _Patience:
    """Waits as long as the broker answers something."""

    def __init__(self, deliveries: _Deliveries) -> None:
        self._deliveries = deliveries
        self._answered, self._until_s = -1, 0.0

    def check(self) -> None:
        """Raises Unavailable."""
        self._deliveries.check()
        answered, now_s = self._deliveries.answered, time.monotonic()
        if answered != self._answered:
            self._answered, self._until_s = answered, now_s + STALLED_S
        elif now_s > self._until_s:
            raise Unavailable(
                f"Kafka has acknowledged no report for {STALLED_S:g} s "
                f"({self._deliveries.sent} reports were acknowledged before)"
            )


def produce_lines(
    lines: Iterable[tuple[int, dict[str, Any] | Rejection]],
    producer: Producer,
    topic: str,
    encoder: EventEncoder,
    *,
    keep_time: bool = False,
    outlook: Outlook = NO_OUTLOOK,
) -> Summary:
    """Send what `reports.read_lines` yields; returns when all of it is acknowledged.

    `keep_time`: the records carry their reports' own time (one without any: the latest so far),
    as if they came in when they were made. Otherwise they carry the present, beside which a
    report older than the worker's retention counts as too late: such are not sent. The price of
    keeping it: a topic with a short retention may drop the records at once.

    Raises Unavailable when the broker takes no records.
    """
    deliveries = _Deliveries()
    latest = without_task = old = 0
    for number, report in lines:
        if isinstance(report, Rejection):
            deliveries.bad.append((number, str(report)))
            continue
        try:
            value = encoder.encode(report)
        except Rejected as rejected:
            deliveries.bad.append((number, str(rejected)))
            continue
        own = report["date_received"] or report["submitted_date"] or 0
        if 0 < own < outlook.horizon_ms:
            old += 1
            if not keep_time:
                continue
        without_task += not report["metadata"].get(outlook.task_id_key, "").strip()
        latest = max(latest, own)
        send = partial(
            producer.produce,
            topic,
            key=report["message_id"].encode(),
            value=value,
            timestamp=(own or latest) if keep_time else 0,  # 0: now
            on_delivery=partial(deliveries.report, number),
        )
        _enqueue(send, producer, number, deliveries)
    patience = _Patience(deliveries)
    while producer.flush(FLUSH_STEP_S):
        patience.check()
    deliveries.check()
    return Summary(deliveries.sent, sorted(deliveries.bad), without_task, old)


def _enqueue(
    send: Callable[[], None], producer: Producer, line: int, deliveries: _Deliveries
) -> None:
    """Wait for room in the producer's queue; records it gives up on make room as well."""
    patience = _Patience(deliveries)
    while True:
        producer.poll(0)
        patience.check()
        try:
            send()
        except BufferError:
            producer.poll(QUEUE_FULL_WAIT_S)
        except KafkaException as error:
            deliveries.failed(line, error.args[0])
            deliveries.check()
            return
        else:
            return

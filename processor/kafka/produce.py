"""Delivery reports -> Avro events on the topic, keyed by message id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastavro import schemaless_writer

from processor.errors import Rejected, Unavailable
from processor.kafka.writer_schema import parse_writer

QUEUE_FULL_WAIT_S: Final = 0.5
FLUSH_TIMEOUT_S: Final = 60.0

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
    """How many reports the broker has acknowledged, and which lines were bad, and why."""

    sent: int
    bad: list[tuple[int, str]]


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

    def check(self) -> None:
        if self.failure is not None:
            raise Unavailable(f"{self.failure} ({self.sent} reports were)")


def produce_lines(
    lines: Iterable[tuple[int, dict[str, Any] | Rejected]],
    producer: Producer,
    topic: str,
    encoder: EventEncoder,
    *,
    keep_time: bool = False,
) -> Summary:
    """Send what `reports.read_lines` yields; returns when all of it is acknowledged.

    `keep_time`: the records carry their reports' own time (one without any: the latest so far),
    as if they came in when they were made. Otherwise they carry the present, beside which a
    report older than the worker's retention counts as too late. The price of keeping it: a
    topic with a short retention may drop the records at once.

    Raises Unavailable when the broker takes no records.
    """
    deliveries = _Deliveries()
    latest = 0
    for number, report in lines:
        if isinstance(report, Rejected):
            deliveries.bad.append((number, str(report)))
            continue
        try:
            value = encoder.encode(report)
        except Rejected as rejected:
            deliveries.bad.append((number, str(rejected)))
            continue
        own = report["date_received"] or report["submitted_date"] or 0
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
    left = producer.flush(FLUSH_TIMEOUT_S)
    deliveries.check()
    if left:
        raise Unavailable(f"{left} reports were not acknowledged in {FLUSH_TIMEOUT_S:.0f} s")
    return Summary(deliveries.sent, sorted(deliveries.bad))


def _enqueue(
    send: Callable[[], None], producer: Producer, line: int, deliveries: _Deliveries
) -> None:
    """Wait for room in the producer's queue; records it gives up on make room as well."""
    while True:
        producer.poll(0)
        deliveries.check()
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

"""Reports go to a broker (librdkafka's in-process cluster) and are read back as events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from processor.commands.produce import events as produce_module
from processor.commands.produce.events import EventEncoder, Outlook, Summary, produce_lines
from processor.commands.produce.reports import read_lines
from processor.core.events import DeliveryEvent
from processor.errors import Rejection, Unavailable
from processor.kafka.avro.framing import single_object_prefix
from processor.ports import RawRecord
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, NOW, report
from tests.support.parts import framed_decoder
from tests.support.patience import patient

SAMPLES = Path(__file__).parent.parent / "data" / "delivery_reports.jsonl"
ENCODER = EventEncoder(EVENT_SCHEMA, single_object_prefix(EVENT_SCHEMA))
CLUSTER: dict[str, str | int | float | bool] = {
    "bootstrap.servers": "in-process",
    "test.mock.num.brokers": 1,
    "log_level": 0,
}


@pytest.fixture
def producer() -> Iterator[Producer]:
    producer = Producer({**CLUSTER, "linger.ms": 1})
    yield producer
    producer.flush(5)


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex}"


def read_back(producer: Producer, topic: str, count: int) -> list[Message]:
    broker = producer.list_topics(topic, timeout=patient(10)).brokers[1]
    partitions = producer.list_topics(topic, timeout=patient(10)).topics[topic].partitions
    consumer = Consumer(
        {"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "g", "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    messages: list[Message] = []
    while len(messages) < count:
        batch = consumer.consume(count, timeout=patient(10))
        assert batch, f"{len(messages)} of {count} records came"
        messages += batch
    consumer.close()
    return messages


def test_the_samples_become_events_keyed_by_message(producer: Producer, topic: str) -> None:
    with SAMPLES.open("rb") as stream:
        summary = produce_lines(read_lines(stream), producer, topic, ENCODER, keep_time=True)
    assert summary.sent == 8
    assert [line for line, _ in summary.bad] == list(range(9, 17))
    assert summary.bad[0] == (9, "no_code")
    messages = read_back(producer, topic, 8)
    decoder = framed_decoder()
    events = decoder.decode(cast("list[RawRecord]", messages))
    assert all(isinstance(event, DeliveryEvent) for event in events)
    assert {m.key() for m in messages} == {e.message_id.encode() for e in events}  # type: ignore[union-attr]
    first = [e for e in events if isinstance(e, DeliveryEvent) and e.message_id.endswith("01")]
    assert [(e.code, e.task_id) for e in first] == [
        (101, "00T5g00000AbCd1EAF"),
        (200, "00T5g00000AbCd1EAF"),
        (220, "00T5g00000AbCd1EAF"),
    ]


def lines(*reports: Any) -> Iterator[tuple[int, Any]]:
    return iter(enumerate(reports, start=1))


def test_records_carry_the_present_or_the_reports_own_time(producer: Producer, topic: str) -> None:
    old = report(message_id="m", date_received=NOW)
    dateless = report(message_id="m", date_received=None, submitted_date=None)
    assert produce_lines(lines(old), producer, topic, ENCODER).sent == 1
    produce_lines(lines(old, dateless), producer, topic, ENCODER, keep_time=True)
    times = [message.timestamp()[1] for message in read_back(producer, topic, 3)]
    assert times[0] > NOW + 1_000_000
    assert times[1:] == [NOW, NOW]


def test_what_run_would_not_use_is_told_and_old_reports_keep_their_time_or_stay(
    producer: Producer, topic: str
) -> None:
    """They were sent with the time of today, and became dead letters without a word."""
    reports = [
        report(message_id="old", date_received=NOW - 1_001),
        report(message_id="dateless", date_received=None, submitted_date=None),
        report(message_id="no task", metadata={}),
        report(message_id="blank task", metadata={"salesforce_task_id": " "}),
        report(message_id="task", metadata={"salesforce_task_id": "00T1"}, date_received=NOW),
    ]
    outlook = Outlook(horizon_ms=NOW - 1_000)
    made = produce_lines(lines(*reports), producer, topic, ENCODER, outlook=outlook)
    assert made == Summary(sent=4, bad=[], without_task=2, old=1)
    made = produce_lines(lines(*reports), producer, topic, ENCODER, outlook=outlook, keep_time=True)
    assert made == Summary(sent=5, bad=[], without_task=2, old=1)


def test_a_broker_that_does_not_answer_is_waited_for_within_a_bound(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce_module, "STALLED_S", 1.0)
    silent = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(Unavailable, match="acknowledged no report for 1 s"):
        produce_lines(lines(report()), silent, topic, ENCODER)
    full = Producer(
        {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "queue.buffering.max.messages": 1}
    )
    with pytest.raises(Unavailable, match="acknowledged no report for 1 s"):
        produce_lines(lines(report(), report()), full, topic, ENCODER)


def test_bad_lines_and_records_are_told_and_the_rest_is_sent(topic: str) -> None:
    producer = Producer({**CLUSTER, "message.max.bytes": 1000})
    summary = produce_lines(
        lines(
            report(),
            Rejection("bad_json", "at column 3"),
            report(original_text="x" * 2000),
            report(original_text="\ud800"),
            report(),
        ),
        producer,
        topic,
        ENCODER,
    )
    assert summary.sent == 2
    assert [line for line, _ in summary.bad] == [2, 3, 4]
    assert [why.split(":")[0] for _, why in summary.bad] == [
        "bad_json",
        "not accepted",
        "unencodable",
    ]


def test_a_full_queue_is_waited_for(topic: str) -> None:
    producer = Producer({**CLUSTER, "queue.buffering.max.messages": 5})
    reports = [report(message_id=str(number)) for number in range(200)]
    assert produce_lines(lines(*reports), producer, topic, ENCODER) == Summary(200, [])


def test_a_broker_that_takes_nothing_is_unavailable(topic: str) -> None:
    producer = Producer(
        {"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 200, "log_level": 0}
    )
    with pytest.raises(Unavailable, match="line 1 not delivered"):
        produce_lines(lines(report(), report()), producer, topic, ENCODER)

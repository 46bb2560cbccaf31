"""The benchmarks' feed is the model's traffic, only made faster."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

from benchmarks.stretch import START_MS, FedRecord, Stretch
from processor.commands.produce.events import EventEncoder
from processor.kafka.avro.framing import SINGLE_OBJECT_SIZE, single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.writer_schema import parse_writer
from processor.sandbox.org.schema import task_id_18
from processor.sandbox.traffic.generator import TASK_KEY, Mix, Traffic, spoiled

MESSAGES, SEED, RATE = 400, 3, 20.0
LENGTH_MS = int(MESSAGES * 1000 / RATE)
TEXT = schema_text("delivery_event.avsc")
SCHEMA = parse_writer(TEXT, None).parsed


def model() -> list[tuple[str, bytes | None, int]]:
    encoder = EventEncoder(TEXT, single_object_prefix(TEXT))
    records = []
    for report in Traffic(MESSAGES, SEED, mix=Mix(), start_ms=START_MS, messages_per_s=RATE):
        value = encoder.encode(report.event)
        poisoned = value if report.poison is None else spoiled(report.poison, value)
        records.append((report.key, poisoned, report.timestamp_ms))
    return records


def fed(repetitions: int) -> list[FedRecord]:
    records = Stretch(MESSAGES, SEED, RATE).records()
    end_ms = START_MS + repetitions * LENGTH_MS
    return list(itertools.takewhile(lambda record: record.timestamp_ms < end_ms, records))


def event_of(record: FedRecord) -> dict[str, Any]:
    assert record.value is not None
    event: Any = schemaless_reader(BytesIO(record.value[SINGLE_OBJECT_SIZE:]), SCHEMA, None)
    assert isinstance(event, dict)
    return event


def test_the_first_repetition_is_the_model_itself() -> None:
    plain = model()
    keys = {key for key, _, _ in plain}
    first = [record for record in fed(30) if record.key in keys]
    assert sorted(record[:3] for record in first if record.value) == sorted(
        record for record in plain if record[1]
    )


def test_records_are_in_the_order_of_arrival() -> None:
    times = [record.timestamp_ms for record in fed(6)]
    assert times == sorted(times)


def test_each_repetition_is_of_other_messages_with_other_tasks() -> None:
    tasks: dict[str, set[str]] = {}
    reports: Counter[str] = Counter()
    for record in fed(6):
        reports[record.key] += record.first
        if not record.poisoned:
            event = event_of(record)
            assert event["message_id"] == record.key
            if task_id := event["metadata"].get(TASK_KEY):
                tasks.setdefault(task_id_18(task_id), set()).add(record.key)
    assert len(reports) > 5 * MESSAGES
    assert set(reports.values()) == {1}, "one record of each message is its first"
    assert {len(keys) for keys in tasks.values()} == {1}


def test_a_repetition_tells_the_same_later() -> None:
    lives: dict[str, dict[str, list[tuple[Any, ...]]]] = defaultdict(lambda: defaultdict(list))
    for record in fed(40):
        if not record.poisoned:
            event = event_of(record)
            dates = [event["date_received"], event["submitted_date"]]
            told = (event["status_code"], record.timestamp_ms, *dates)
            lives[record.key[8:]][record.key].append(told)
    assert len(lives) == MESSAGES
    for repetitions in lives.values():
        first, second, *_ = repetitions.values()
        assert second == [
            (code, *(at and at + LENGTH_MS for at in times)) for code, *times in first
        ]

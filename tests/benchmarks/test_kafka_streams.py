"""The Kafka Streams program of the benchmark keeps our rule, or the comparison tells."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from benchmarks.feed import DEAD_LETTER_TOPIC, PARTITIONS, create_events_topic
from benchmarks.peers import statuses, streams
from benchmarks.peers.contenders import STREAMS, Course, run
from processor.commands.compose import rules
from processor.commands.produce.events import EventEncoder
from processor.config.settings import Settings
from processor.core.plan import plan
from processor.core.report.fields import Oddities, ReportRules
from processor.errors import Rejection
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.framing import single_object_prefix
from processor.sandbox.traffic.generator import TASK_KEY, WITHOUT_REGISTRY, Poison, spoiled
from tests.integration.kit import Broker
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, Record, report
from tests.support.needs import do_without

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.alone]

EVENTS, MESSAGES, SEED = 20_000, 2_000, 5
NOW_MS = 1_790_000_000_000
CODES = (101, 151, 199, 102, 102, 200, 210, 213, 222, 299, 301, 333, 399, 400, 402, 414, 499)
BRIEF = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # for seconds of work
DELIVERED = (220, 221)
ENCODER = EventEncoder(EVENT_SCHEMA, single_object_prefix(EVENT_SCHEMA))


def hostile(rng: random.Random) -> tuple[str, Record]:
    """Few times and few values, so that almost everything is a tie."""
    message_id = f"message-{rng.randrange(MESSAGES)}"
    code = rng.choice(DELIVERED if rng.random() < 0.03 else CODES)
    stamps = [rng.choice((None, NOW_MS - rng.randrange(6))) for _ in range(2)]
    event = report(
        message_id=message_id,
        status_code=code,
        date_received=stamps[0],
        submitted_date=rng.choice((stamps[1], 1_000)),
        vendor_account_id={"vendor_id": "v", "account_id": rng.choice(("", "a", " b ", "c"))},
        metadata={TASK_KEY: rng.choice(("", "00T1", " 00T2", "00T3", "00T3"))},
    )
    poison = rng.choice(WITHOUT_REGISTRY) if rng.random() < 0.02 else None
    match poison:
        case Poison.NO_MESSAGE_ID:
            event["message_id"] = ""
        case Poison.CODE_NULL:
            event["status_code"] = None
        case Poison.CODE_OUT_OF_RANGE:
            event["status_code"] = rng.choice((99, 500))
    value: bytes | None = ENCODER.encode(event)
    if poison is not None:
        assert value is not None
        value = spoiled(poison, value)
    return message_id, Record(value, NOW_MS + rng.randrange(-4, 2))


def by_our_rule(records: list[Record]) -> dict[bytes, bytes]:
    """What the worker's core makes of them, as values of the status topic."""
    settings = Settings()
    reading = ReportRules(settings.events.time_fields, settings.salesforce.task_id_metadata_key)
    decoder = AvroDecoder([EVENT_SCHEMA], reading, Oddities(), plain=False)
    events = decoder.decode(records)
    assert any(isinstance(event, Rejection) for event in events)
    made = plan(events, {}, rules=rules(settings), now=NOW_MS + 1_000_000)
    encode = statuses.codec().encode
    made_of = {key: change.new for key, change in made.changes.items()}
    return {key.encode(): encode(state) for key, state in made_of.items() if state is not None}


class Hostile(NamedTuple):
    topic: str
    records: list[Record]


@pytest.fixture(scope="module")
def fed(kafka: Broker) -> Hostile:
    if reason := streams.why_not():
        do_without(reason)
    topic = f"hostile-{time.time_ns()}"
    create_events_topic(kafka.bootstrap_servers, topic)
    create_events_topic(kafka.bootstrap_servers, f"{DEAD_LETTER_TOPIC}.{topic}")
    rng = random.Random(SEED)
    records = [hostile(rng) for _ in range(EVENTS)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for key, record in records:
        producer.produce(topic, record.payload, key, timestamp=record.time)
        producer.poll(0)
    producer.flush()
    return Hostile(topic, [record for _, record in records])


@pytest.fixture(scope="module")
def differences(kafka: Broker, fed: Hostile) -> Callable[[Path], statuses.Difference]:
    """Between our rule and what a program of such sources has published."""
    ours = by_our_rule(fed.records)

    def compared(sources: Path) -> statuses.Difference:
        topic = f"statuses-{time.time_ns()}"
        course = Course(
            kafka.bootstrap_servers,
            EVENTS,
            topic,
            events_topic=fed.topic,
            dead_letter_topic=f"{DEAD_LETTER_TOPIC}.{fed.topic}",
            sources=sources,
            jvm=BRIEF,
        )
        run(STREAMS, course)
        theirs = statuses.read(kafka.bootstrap_servers, topic, PARTITIONS)
        return statuses.compare(ours, theirs.last)

    return compared


def test_both_come_to_the_same_status_of_every_message(
    differences: Callable[[Path], statuses.Difference],
) -> None:
    found = differences(streams.SOURCES)
    assert found.examples == []
    assert found.equal > MESSAGES * 0.9


WRONG = {
    "of two failures at one time, known or not, the greater code": (
        "Collapse.java",
        "return isKnown(code) != isKnown(best) ? isKnown(code) : code > best;",
        "return code > best;",
    ),
    "of two Tasks named at one time, the lesser": (
        "Status.java",
        "value.compareTo(known) > 0",
        "value.compareTo(known) < 0",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_is_noticed(
    wrong: str, differences: Callable[[Path], statuses.Difference], tmp_path: Path
) -> None:
    name, right, planted = WRONG[wrong]
    sources = shutil.copytree(streams.SOURCES, tmp_path / "sources")
    text = (sources / name).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (sources / name).write_text(text.replace(right, planted), encoding="utf-8")
    assert differences(sources).total > 0

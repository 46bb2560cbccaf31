"""Records that can't be used: each goes to the dead-letter topic as it came, and holds up none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer

from processor.sandbox.demo.judge import CODE_FIELD
from processor.sandbox.traffic.generator import WITHOUT_REGISTRY, Poison, Report, _poisoned
from processor.sandbox.traffic.oracle import REASONS
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger, event_time, header, place_of
from tests.integration.stage import Stage, past_traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITION = 2
OWN_HEADERS: list[tuple[str, str | bytes | None]] = [
    ("trace", b"\x00\xff"),
    ("trace", b"again"),
    ("empty", None),
]


OWN, REGISTERED = "framing of our own", "framing of a registry"


@pytest.fixture(params=[OWN, pytest.param(REGISTERED, marks=pytest.mark.registry)])
def stage(
    request: pytest.FixtureRequest, kafka: Broker, tmp_path: Path
) -> Iterator[tuple[Stage, tuple[Poison, ...]]]:
    with_registry = request.param == REGISTERED
    url = request.getfixturevalue("registry_url") if with_registry else None
    stage = Stage(kafka.bootstrap_servers, tmp_path, registry_url=url)
    yield stage, tuple(Poison) if with_registry else WITHOUT_REGISTRY
    stage.close()


def life(number: int, poison: Poison) -> list[Report]:
    """A message that is sent and delivered, with a poisoned report between the two."""
    traffic = past_traffic(40, 7)
    with_task = (m for m in traffic.lives() if m.task_id and m.reports[0].poison is None)
    message = next(itertools.islice(with_task, number, None))
    first = message.reports[0]
    sent = first.event | {"status_code": 200}
    arrived = sent | {"status_code": 220, "date_received": (sent["date_received"] or 0) + 1}
    return [
        first._replace(event=sent),
        first._replace(event=_poisoned(sent, poison), poison=poison),
        first._replace(event=arrived),
    ]


def send(stage: Stage, reports: list[Report]) -> None:
    """To one partition, with headers and a key that is no text."""
    encoders = stage.encoders()
    producer = Producer({"bootstrap.servers": stage.bootstrap_servers})
    for report in reports:
        producer.produce(
            stage.names.events,
            encoders.value(report),
            b"\xff" + report.key.encode(),
            PARTITION,
            timestamp=report.timestamp_ms,
            headers=OWN_HEADERS,
        )
    assert producer.flush(30) == 0


def test_each_kind_of_poison_is_kept_as_it_came_and_the_events_around_it_are_processed(
    stage: tuple[Stage, tuple[Poison, ...]],
) -> None:
    scene, kinds = stage
    lives = {kind: life(number, kind) for number, kind in enumerate(kinds)}
    scene.org.add_tasks(task_of(reports[0]) for reports in lives.values())
    send(scene, [report for reports in lives.values() for report in reports])

    assert scene.start("one", "run", "--once").wait() == 0

    ledger = Ledger(scene)
    events, letters = ledger.events.read(), ledger.letters.read()
    found = {place_of(letter): letter for letter in letters}
    places = {kind: (PARTITION, 3 * number + 1) for number, kind in enumerate(kinds)}
    assert sorted(found) == sorted(places.values())
    for kind, place in places.items():
        letter, event = found[place], events[place[1]]
        assert header(letter, "exception.class.name") == REASONS[kind]
        assert header(letter, "stage") == "decode"
        assert header(letter, "topic") == scene.names.events
        assert as_it_came(letter) == as_it_came(event)
        assert event_time(letter) == event.timestamp()[1]
    for reports in lives.values():
        assert scene.org.task(task_of(reports[0]))[CODE_FIELD] == "220"


def task_of(report: Report) -> str:
    return str(report.event["metadata"]["salesforce_task_id"])


def as_it_came(record: Message) -> tuple[object, ...]:
    own = list(record.headers() or [])[: len(OWN_HEADERS)]
    return record.key(), record.value(), own

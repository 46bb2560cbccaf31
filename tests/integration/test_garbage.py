"""A producer that was deployed with a fault: garbage in a row, between good events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from processor.sandbox.demo.judge import CODE_FIELD
from processor.sandbox.traffic.generator import Poison, Report
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger
from tests.integration.stage import Stage, wait
from tests.integration.test_poison import life, task_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

BAD, HEALTHY = 2, 4
GARBAGE = 1_100
AROUND = 300


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def send(stage: Stage, partition: int, reports: list[Report]) -> None:
    encoders = stage.encoders()
    in_order = {"enable.idempotence": True}  # else a retry may put one batch before another
    producer = Producer({"bootstrap.servers": stage.bootstrap_servers, **in_order})
    for report in reports:
        value, key = encoders.value(report), report.key.encode()
        producer.produce(stage.names.events, value, key, partition, timestamp=report.timestamp_ms)
    assert producer.flush(30) == 0


def test_a_burst_of_garbage_is_passed_slowly_and_holds_up_neither_the_group_nor_others(
    stage: Stage,
) -> None:
    sent, garbage, arrived = life(0, Poison.BAD_MAGIC)
    first, _, last = life(1, Poison.BAD_MAGIC)
    stage.org.add_tasks([task_of(sent), task_of(last)])
    send(stage, BAD, [sent] * AROUND + [garbage] * GARBAGE + [arrived] * AROUND)
    process = stage.start("one", BREAKER__EVENTS_PER_MINUTE="3000")
    slowed = "sms_processor_breaker_open_partitions"
    wait("the breaker is open", lambda: process.metric(slowed) == 1)
    send(stage, HEALTHY, [first, last])
    org = stage.org
    wait("the other partition goes on", lambda: org.task(task_of(last))[CODE_FIELD] == "220")
    assert org.task(task_of(sent))[CODE_FIELD] != "220"
    assert process.ready()

    wait("all is read", lambda: stage.unread() == 0)
    wait("the first Task is right", lambda: org.task(task_of(sent))[CODE_FIELD] == "220")
    wait("the breaker is closed", lambda: process.metric(slowed) == 0)
    assert len(Ledger(stage).letters.read()) == GARBAGE
    (line,) = [line for line in process.log().splitlines() if "level=error" in line]
    assert f" partition={BAD} first_offset={AROUND} reasons=" in line


def test_garbage_can_be_let_through_at_once(stage: Stage) -> None:
    sent, garbage, arrived = life(0, Poison.BAD_MAGIC)
    stage.org.add_tasks([task_of(sent)])
    send(stage, BAD, [sent] * AROUND + [garbage] * GARBAGE + [arrived] * AROUND)
    process = stage.start("one", "run", "--once", "--timeout", "60", BREAKER__ENABLED="false")
    assert process.wait() == 0
    assert len(Ledger(stage).letters.read()) == GARBAGE
    assert stage.org.task(task_of(sent))[CODE_FIELD] == "220"

"""Traffic onto a topic, as the process that a compose file starts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message

from processor.core.events import DeliveryEvent
from processor.errors import Rejection, Unavailable
from processor.kafka.avro.registry import Registry
from processor.runtime.clock import SystemClock
from processor.sandbox.org.schema import task_id_18
from processor.sandbox.org.server import SandboxOrg
from processor.sandbox.servers.broker import InProcessBroker, TopicNames
from processor.sandbox.traffic.generator import Mix, Poison, Report, Traffic
from processor.sandbox.traffic.oracle import REASONS
from processor.sandbox.traffic.producer import Encoders, TaskMaker, main, pace
from tests.kafka.avro.avro_kit import Record
from tests.support.parts import framed_decoder
from tests.support.patience import Patience, patient

TOPIC = "events"


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as running:
        running.create_topics(TopicNames(TOPIC, "statuses", "dead-letters"))
        yield running


def read_some(broker: InProcessBroker, at_least: int, timeout_s: float = 30.0) -> list[Message]:
    client = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    client.subscribe([TOPIC])
    messages: list[Message] = []
    limit = Patience(timeout_s)
    while len(messages) < at_least and not limit.is_over():
        messages += [m for m in client.consume(100, 0.2) if m.error() is None]
    client.close()
    return messages


@pytest.mark.slow
def test_it_produces_until_told_to_stop_and_makes_the_tasks_first(broker: InProcessBroker) -> None:
    with SandboxOrg() as org:
        command = [sys.executable, "-m", "processor.sandbox.traffic", "--rate", "100"]
        command += ["--bootstrap-servers", broker.bootstrap_servers, "--topic", TOPIC]
        with subprocess.Popen([*command, "--org-url", org.url], stderr=subprocess.PIPE) as process:
            messages = read_some(broker, 100)
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=patient(20))
        assert process.returncode == 0, log
        assert b"ended reports=" in log
        assert len(messages) >= 100
        decoder = framed_decoder()
        events = [
            e
            for e in decoder.decode([Record(m.value(), m.timestamp()[1]) for m in messages])
            if isinstance(e, DeliveryEvent)
        ]
        named = {task_id_18(e.task_id) for e in events if e.task_id is not None}
        assert named <= {task["Id"] for task in org.tasks()}


def test_an_org_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not take Tasks"):
        TaskMaker("http://127.0.0.1:1").add(["00T000000000001"])


def test_a_report_is_sent_when_its_time_has_come() -> None:
    now = 0
    stopped = threading.Event()
    reports = [Report({}, "k", stamp) for stamp in (0, 5, 20)]

    def clock() -> int:
        nonlocal now
        now += 10
        return now

    seen = []
    for report in pace(reports, clock, stopped):
        seen.append(report.timestamp_ms)
        if len(seen) == 2:
            stopped.set()
    assert seen == [0, 5]


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(SystemExit):
        main(["--bootstrap-servers", "nowhere:1", "--rate", "0"])


def test_with_a_registry_every_poison_can_be_made_and_is_rejected_for_its_reason() -> None:
    registry = Registry.connect("mock://traffic", {}, SystemClock(), grace_s=0)
    encoders = Encoders(TOPIC, registry)
    assert encoders.poisons == tuple(Poison)
    decoder = framed_decoder(registry)
    traffic = Traffic(60, seed=7, mix=Mix(poisoned=0.5, poisons=encoders.poisons))
    seen = set()
    for report in traffic:
        (outcome,) = decoder.decode([Record(encoders.value(report), report.timestamp_ms)])
        seen.add(report.poison)
        if report.poison is None:
            assert isinstance(outcome, DeliveryEvent)
        else:
            assert isinstance(outcome, Rejection)
            assert outcome.reason == REASONS[report.poison]
    assert seen == {None, *Poison}

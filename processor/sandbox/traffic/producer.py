"""Traffic onto an events topic: encoded, poisoned where it has to be, and at a rate.

As a process: `python -m processor.sandbox.traffic --bootstrap-servers kafka:9092 --rate 50`.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import requests
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.commands.produce.events import EventEncoder
from processor.config.settings import Kafka
from processor.errors import ProcessorError, Unavailable
from processor.kafka.avro.registry import Registry, prefix_for
from processor.kafka.avro.schemas import schema_text
from processor.kafka.client.options import producer_options
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging
from processor.sandbox.org.schema import task_id_18
from processor.sandbox.traffic.generator import (
    TASK_KEY,
    WITHOUT_REGISTRY,
    Mix,
    Poison,
    Report,
    Traffic,
    spoiled,
)

SCHEMA: Final = "delivery_event.avsc"
DEFAULT_TOPIC: Final = Kafka().events_topic
FLUSH_TIMEOUT_S: Final = 30.0
TELL_EVERY_S: Final = 60.0
RETRY_S: Final = 1.0
ORG_TIMEOUT_S: Final = 10.0

REPORTS_PER_MESSAGE: Final = 3.8
"""Roughly, with the default mix."""

log = logging.getLogger(__name__)


class Encoders:
    """Values of the events topic. Raises ConfigError, and Unavailable without the registry."""

    def __init__(self, topic: str, registry: Registry | None = None) -> None:
        text = schema_text(SCHEMA)
        self._plain = EventEncoder(text, prefix_for(text, topic, registry, register=True))
        self._worded: EventEncoder | None = None
        if registry is not None:
            worded = _with_code_as_text(text)
            prefix = prefix_for(worded, f"{topic}-worded", registry, register=True)
            self._worded = EventEncoder(worded, prefix)

    @property
    def poisons(self) -> tuple[Poison, ...]:
        """What can be produced: a code in letters only with a registry."""
        return WITHOUT_REGISTRY if self._worded is None else tuple(Poison)

    def value(self, report: Report) -> bytes | None:
        encoder = self._plain
        if report.poison is Poison.CODE_TEXT:
            if self._worded is None:
                raise ValueError("a code in letters needs a registry")
            encoder = self._worded
        encoded = encoder.encode(report.event)
        return encoded if report.poison is None else spoiled(report.poison, encoded)


def _with_code_as_text(text: str) -> str:
    """The schema of a producer that has the code in a string, as callbacks do."""
    schema = json.loads(text)
    for field in schema["fields"]:
        if field["name"] == "status_code":
            field["type"] = ["null", "string"]
    return json.dumps(schema)


class TrafficProducer:
    """Sends reports, in their order, with the time of their arrival as timestamp."""

    def __init__(self, bootstrap_servers: str, topic: str, encoders: Encoders) -> None:
        self.sent = 0
        self._topic = topic
        self._encoders = encoders
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **producer_options(bootstrap_servers, {}),
                "enable.idempotence": True,
                "linger.ms": 20,
                "partitioner": "murmur2_random",  # as Java's producers
            }
        )

    def send(self, report: Report) -> None:
        """Queue one report. Raises Unavailable when an earlier one could not be delivered."""
        value = self._encoders.value(report)
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=value,
                    key=report.key,
                    timestamp=report.timestamp_ms,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as failure:
                raise Unavailable(f"{self._topic}: {failure.args[0].str()}") from failure
            else:
                break
        self.sent += 1
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Return when everything is delivered. Raises Unavailable."""
        if left := self._producer.flush(FLUSH_TIMEOUT_S):
            raise Unavailable(f"{left} reports could not be delivered")
        self._check()

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise Unavailable(f"a report could not be delivered: {self._failure.str()}")


def pace(
    reports: Iterable[Report], now_ms: Callable[[], int], stopped: threading.Event
) -> Iterator[Report]:
    """Each report when its time has come; ends when stopped."""
    for report in reports:
        wait_s = (report.timestamp_ms - now_ms()) / 1000
        if stopped.wait(wait_s) if wait_s > 0 else stopped.is_set():
            return
        yield report


class TaskMaker:
    """Makes the Tasks that reports name, in a sandbox org, each before its first report."""

    def __init__(self, org_url: str) -> None:
        self._url = f"{org_url.rstrip('/')}/__sandbox__/tasks"
        self._session = requests.Session()

    def add(self, task_ids: Sequence[str]) -> None:
        """Raises Unavailable."""
        if not task_ids:
            return
        body = {"ids": [task_id_18(task_id) for task_id in task_ids]}
        try:
            self._session.post(self._url, json=body, timeout=ORG_TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:
            raise Unavailable(f"the sandbox org does not take Tasks: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Produce until SIGTERM or SIGINT, or until all messages have been sent."""
    options = _parser().parse_args(arguments)
    set_up_logging()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        _produce(options, stopped)
    except ProcessorError as error:
        log.error("ended by an error: see why, and start again", extra={"why": error})
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m processor.sandbox.traffic", description="Made-up delivery reports -> Kafka."
    )
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", default=DEFAULT_TOPIC)
    parser.add_argument("--rate", type=_positive, default=50.0, help="reports per second, roughly")
    parser.add_argument("--messages", type=int, help="end after so many messages (default: never)")
    parser.add_argument("--seed", type=int, help="default: another one at every start")
    parser.add_argument("--registry-url", help="Confluent framing, with the schema's id there")
    parser.add_argument("--org-url", help="make the Tasks in this sandbox org")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _produce(options: argparse.Namespace, stopped: threading.Event) -> None:
    clock = SystemClock()
    encoders = _encoders(options, clock, stopped)
    if encoders is None:
        return
    seed = options.seed if options.seed is not None else clock.now_ms() // 1000
    log.info(
        "producing reports",
        extra={"topic": options.topic, "reports_per_s": options.rate, "seed": seed},
    )
    traffic = Traffic(
        options.messages,
        seed,
        mix=Mix(poisons=encoders.poisons),
        start_ms=clock.now_ms(),
        messages_per_s=options.rate / REPORTS_PER_MESSAGE,
    )
    producer = TrafficProducer(options.bootstrap_servers, options.topic, encoders)
    org = TaskMaker(options.org_url) if options.org_url else None
    known: dict[str, None] = {}
    tell_at_s = clock.monotonic_s() + TELL_EVERY_S
    for report in pace(traffic, clock.now_ms, stopped):
        task_id = report.event["metadata"].get(TASK_KEY)
        if org is not None and task_id and task_id not in known:
            org.add([task_id])
            _remember(known, task_id)
        producer.send(report)
        if clock.monotonic_s() >= tell_at_s:
            log.info("reports produced", extra={"reports": producer.sent})
            tell_at_s += TELL_EVERY_S
    producer.flush()
    log.info("ended", extra={"reports": producer.sent})


def _remember(known: dict[str, None], task_id: str, most: int = 100_000) -> None:
    known[task_id] = None
    if len(known) > most:
        del known[next(iter(known))]


def _encoders(
    options: argparse.Namespace, clock: SystemClock, stopped: threading.Event
) -> Encoders | None:
    """With the registry, as soon as it answers; None when stopped before."""
    if not options.registry_url:
        return Encoders(options.topic)
    registry = Registry.connect(options.registry_url, {}, clock, grace_s=0)  # reads nothing
    while not stopped.is_set():
        try:
            return Encoders(options.topic, registry)
        except Unavailable as error:
            log.warning("waiting for the registry", extra={"why": error})
            stopped.wait(RETRY_S)
    return None

"""Runs the demo: puts broker, org, traffic and worker together, and waits for the end.

Three threads: this one shows how far it is, one produces, one is the worker's loop. The producer
does not run further ahead of the worker than the broker can hold.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any, Final

from processor.config import Settings, load_settings
from processor.errors import Unavailable
from processor.sandbox.broker import Broker, InProcessBroker, RealBroker, TopicNames
from processor.sandbox.demo import DemoOptions, DemoReport
from processor.sandbox.demo_dead_letters import DeadLetters
from processor.sandbox.demo_judge import CATEGORY_FIELD, CODE_FIELD, VERSION_FIELD, judge
from processor.sandbox.demo_processor import Processor, start
from processor.sandbox.demo_screen import Progress, Screen
from processor.sandbox.org import (
    Fault,
    FaultKind,
    FieldSpec,
    OrgSettings,
    RequestKind,
    SandboxOrg,
    task_fields,
)
from processor.sandbox.traffic import Traffic
from processor.sandbox.traffic_oracle import Expected
from processor.sandbox.traffic_to_kafka import Encoders, TrafficProducer

START_TIMEOUT_S: Final = 30.0  # until the worker has joined its group and logged in
SPREAD_S: Final = 4.0  # how long the traffic takes where no rate is given
GRACE_S: Final = 45.0  # after the traffic, for what is still owed
LOOK_EVERY_S: Final = 0.1
TAIL_S: Final = 600.0  # of the model: how long the last message's reports take
MODEL_MESSAGES_PER_S: Final = 20.0

FAILURE_HOLD_S: Final = 1.0
INTERMEDIATE_HOLD_S: Final = 1.0
SETTLE_INTERVAL_S: Final = 1.0
UNKNOWN_AFTER_S: Final = 5.0

TOPICS: Final = TopicNames("demo.events", "demo.status", "demo.dead-letters")


class Demo:
    """One run."""

    def __init__(
        self, options: DemoOptions, oracle: Callable[[Traffic], Expected], screen: Screen
    ) -> None:
        self._options = options
        self._screen = screen
        span_ms = round((options.messages / MODEL_MESSAGES_PER_S + TAIL_S) * 1000)
        self._traffic = Traffic(
            options.messages,
            options.seed,
            start_ms=time.time_ns() // 1_000_000 - span_ms,
            messages_per_s=MODEL_MESSAGES_PER_S,
        )
        self._wanted = oracle(self._traffic)
        self._stop = threading.Event()
        self._sent = 0
        self._all_sent = False
        self._drained = False
        self._began_s = self._ended_s = time.monotonic()

    def run(self) -> DemoReport:
        """Raises what any of the parts raises."""
        with ExitStack() as stack:
            broker: Broker = RealBroker() if self._options.broker == "kafka" else InProcessBroker()
            stack.enter_context(broker)
            org = stack.enter_context(SandboxOrg(settings=_org_settings()))
            org.add_tasks(self._wanted.tasks)
            broker.create_topics(TOPICS)
            letters = DeadLetters(broker.bootstrap_servers, TOPICS.dead_letter, broker.partitions)
            stack.callback(letters.close)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="processor-demo-"))
            processor = start(_settings(broker, org, folder), broker)
            self._began_s = time.monotonic()
            try:
                seconds = self._work(processor, broker, org, letters)
                letters.read_all()
                return self._report(processor, org, letters, seconds)
            finally:
                processor.close()

    def _work(
        self, processor: Processor, broker: Broker, org: SandboxOrg, letters: DeadLetters
    ) -> float:
        """Until everything is settled, or the time is over. Returns how long it took."""
        with _two_threads(self._stop) as pool:
            worker = pool.submit(processor.run, lambda: self._may_end(processor))
            producer = pool.submit(self._produce, processor, broker, org)
            with suppress(KeyboardInterrupt) if self._options.keep else nullcontext():
                self._watch(worker, producer, lambda: self._show(processor, org, letters))
            self._stop.set()
            worker.result()
            producer.result()
        return self._ended_s - self._began_s

    def _watch(
        self, worker: Future[None], producer: Future[None], show: Callable[[], None]
    ) -> None:
        """Return when the worker has ended; tell it to, when the time is over."""
        deadline_s = float("inf")
        while not worker.done():
            if producer.done():
                producer.result()
                deadline_s = min(deadline_s, time.monotonic() + GRACE_S)
            if time.monotonic() > deadline_s and not self._drained:
                self._stop.set()
            show()
            wait_for([worker], LOOK_EVERY_S)
        show()

    def _may_end(self, processor: Processor) -> bool:
        """Asked by the worker's loop, each time it turns."""
        if self._stop.is_set():
            return True
        if self._drained or not self._all_sent or processor.consumed() < self._sent:
            return self._drained and not self._options.keep
        self._drained = processor.drained()
        self._ended_s = time.monotonic()
        if self._drained and self._options.keep:
            self._screen.say(f"done; until interrupted: {processor.metrics_url()}")
        return self._drained and not self._options.keep

    def _produce(self, processor: Processor, broker: Broker, org: SandboxOrg) -> None:
        producer = TrafficProducer(broker.bootstrap_servers, TOPICS.events, Encoders(TOPICS.events))
        rate = self._rate()
        faults = _fault_schedule(self._options, self._wanted.events)
        while not processor.ready():
            if time.monotonic() - self._began_s > START_TIMEOUT_S:
                raise Unavailable("the worker did not get ready")
            if self._stop.wait(0.05):
                return
        began_s = time.monotonic()
        for number, report in enumerate(self._traffic):
            while faults and faults[0][0] <= number:
                org.inject(*faults.pop(0)[1])
            while self._too_early(number, rate, began_s, processor, broker):
                if self._stop.wait(0.01):
                    return
            producer.send(report)
            self._sent = producer.sent
        producer.flush()
        self._all_sent = True

    def _rate(self) -> float:
        if self._options.rate is not None:
            return self._options.rate
        return self._wanted.events / SPREAD_S

    @staticmethod
    def _too_early(
        number: int, rate: float, began_s: float, processor: Processor, broker: Broker
    ) -> bool:
        if rate and number > (time.monotonic() - began_s) * rate:
            return True
        # Asking how much was consumed is not free: now and then will do.
        limit = broker.backlog_max
        return limit is not None and number % 500 == 0 and number - processor.consumed() > limit

    def _show(self, processor: Processor, org: SandboxOrg, letters: DeadLetters) -> None:
        letters.read()
        numbers = OrgNumbers(org)
        stage = "sending" if not self._all_sent else "settling" if not self._drained else "done"
        if not processor.consumed():
            stage = "starting"
        self._screen.show(
            Progress(
                stage=stage,
                seconds=time.monotonic() - self._began_s,
                sent=self._sent,
                events=self._wanted.events,
                consumed=processor.consumed(),
                ignored=processor.ignored(),
                dead_letters=letters.count,
                owed=processor.owed(),
                requests=numbers.requests,
                rows=numbers.rows,
                faults=sum(numbers.faults.values()),
            )
        )

    def _report(
        self, processor: Processor, org: SandboxOrg, letters: DeadLetters, seconds: float
    ) -> DemoReport:
        wanted = self._wanted
        verdict = judge(org, wanted.tasks)
        numbers = OrgNumbers(org)
        for reason in sorted(letters.reasons.keys() | wanted.dead_letters.keys()):
            found, expected = letters.reasons[reason], wanted.dead_letters[reason]
            if found != expected:
                verdict.tell(f"dead letters for {reason}: {found}, expected {expected}")
        return DemoReport(
            messages=wanted.messages,
            events=wanted.events,
            tasks_expected=len(wanted.tasks),
            tasks_correct=verdict.correct,
            regressions=verdict.regressions,
            salesforce_requests=numbers.requests,
            salesforce_rows=numbers.rows,
            api_calls=numbers.api_calls,
            events_ignored=processor.ignored(),
            events_ignored_expected=wanted.ignored,
            dead_letters=letters.count,
            dead_letters_expected=wanted.dead_letters.total(),
            statuses_published=processor.statuses(),
            faults=numbers.faults,
            finished=self._drained,
            seconds=round(seconds, 2),
            events_per_second=round(wanted.events / seconds, 1),
            seed=self._options.seed,
            broker=self._options.broker,
            wrong=tuple(verdict.wrong),
        )


class OrgNumbers:
    """What the org has counted."""

    def __init__(self, org: SandboxOrg) -> None:
        stats: dict[str, Any] = org.stats()
        self.requests = sum(stats["requests"].values())
        self.rows = stats["rows"]["written"] + stats["rows"]["failed"]
        self.api_calls: int = stats["api_calls"]["used"]
        self.faults: dict[str, int] = stats["faults"]


@contextmanager
def _two_threads(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Whatever happens here, the threads are told to end before they are awaited."""
    with ThreadPoolExecutor(2, thread_name_prefix="demo") as pool:
        try:
            yield pool
        finally:
            stop.set()


def _fault_schedule(options: DemoOptions, events: int) -> list[tuple[int, list[Fault]]]:
    """After how many reports the org begins to fail, and how."""
    if not options.faults:
        return []
    rng = random.Random(options.seed)
    spells = [
        [Fault(FaultKind.LOCK, count=2, probability=0.02, seed=options.seed)],
        [Fault(FaultKind.UNAVAILABLE, duration_s=1.0)],
        [
            Fault(FaultKind.RESET_AFTER, count=1, request=RequestKind.COLLECTIONS_UPDATE),
            Fault(FaultKind.RESET_AFTER, count=1, request=RequestKind.COMPOSITE),
        ],
        [Fault(FaultKind.SESSION, count=1)],
        [Fault(FaultKind.HTML, count=1)],
    ]
    rng.shuffle(spells)
    return [
        (int(events * (place + rng.random()) / (len(spells) + 1)), faults)
        for place, faults in enumerate(spells)
    ]


def _org_settings() -> OrgSettings:
    return OrgSettings(fields=(*task_fields(), FieldSpec(VERSION_FIELD, "double")))


def _settings(broker: Broker, org: SandboxOrg, folder: str) -> Settings:
    values = {
        "KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA__GROUP_ID": "demo",
        "KAFKA__EVENTS_TOPIC": TOPICS.events,
        "KAFKA__STATUS_TOPIC": TOPICS.status,
        "KAFKA__DEAD_LETTER_TOPIC": TOPICS.dead_letter,
        "SALESFORCE__ENDPOINT_URL": org.url,
        "SALESFORCE__CONSUMER_KEY": org.settings.consumer_key,
        "SALESFORCE__CONSUMER_SECRET": org.settings.consumer_secret,
        "SALESFORCE__FIELDS": (
            f'{{"{CATEGORY_FIELD}": "category", "{CODE_FIELD}": "code",'
            f' "{VERSION_FIELD}": "version"}}'
        ),
        "SALESFORCE__FAILURE_HOLD_S": str(FAILURE_HOLD_S),
        "SALESFORCE__INTERMEDIATE_HOLD_S": str(INTERMEDIATE_HOLD_S),
        "SALESFORCE__SETTLE_INTERVAL_S": str(SETTLE_INTERVAL_S),
        "SALESFORCE__UNKNOWN_AFTER_S": str(UNKNOWN_AFTER_S),
        "STATE__DIR": folder,
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": "0",
    }
    environ = {f"PROCESSOR_{name}": value for name, value in values.items()}
    return load_settings(environ=environ, needs=("kafka", "salesforce"))

"""Runs the demo: puts broker, org, traffic and worker together, and waits for the end.

Three threads: this one shows how far it is and takes the org down, one produces, one is the
worker's loop. The producer does not run further ahead of the worker than the broker can hold.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from processor.config.load import load_settings
from processor.config.settings import Settings
from processor.errors import Unavailable
from processor.sandbox.demo.dead_letters import DeadLetters
from processor.sandbox.demo.interrupt import interruptible
from processor.sandbox.demo.judge import CATEGORY_FIELD, CODE_FIELD, VERSION_FIELD, judge
from processor.sandbox.demo.outage import Outage, Phase, single_faults
from processor.sandbox.demo.processor import Processor, start
from processor.sandbox.demo.report import DemoOptions, DemoReport
from processor.sandbox.demo.screen import ORG_IS_DOWN, Progress, Screen, summary
from processor.sandbox.demo.story import StoryTeller
from processor.sandbox.org.server import FieldSpec, OrgSettings, SandboxOrg, task_fields
from processor.sandbox.servers.broker import Broker, InProcessBroker, RealBroker, TopicNames
from processor.sandbox.traffic.generator import Traffic
from processor.sandbox.traffic.oracle import Expected
from processor.sandbox.traffic.producer import Encoders, TrafficProducer

START_TIMEOUT_S: Final = 30.0  # until the worker has joined its group and logged in
SPREAD_S: Final = 6.0  # how long the traffic takes where no rate is given
GRACE_S: Final = 45.0  # after the traffic, without anything that moves
LOOK_EVERY_S: Final = 0.1
TAIL_S: Final = 600.0  # of the model: how long the last message's reports take
MODEL_MESSAGES_PER_S: Final = 20.0

FAILURE_HOLD_S: Final = 1.0
INTERMEDIATE_HOLD_S: Final = 1.0
SETTLE_INTERVAL_S: Final = 1.0
UNKNOWN_AFTER_S: Final = 5.0

INTRODUCTION: Final = """\
Delivery reports of {messages:,} made-up messages, to a broker, to the processor,
to a sandbox org. Some come late, twice, or in the wrong order; some can't be
read. This takes about half a minute.
"""

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
        screen.say(INTRODUCTION.format(messages=options.messages))
        self._wanted = oracle(self._traffic)
        self._story = StoryTeller(self._traffic)
        self._outage: Outage | None = None
        self._stop = threading.Event()
        self._sent = 0
        self._all_sent = False
        self._drained = False
        self._meet_interrupt: Callable[[], None] = lambda: None
        self._began_s = self._ended_s = time.monotonic()
        self._began_ms = 0

    def run(self) -> DemoReport:
        """Raises what any of the parts raises, and KeyboardInterrupt before there is a report."""
        with ExitStack() as stack:
            self._meet_interrupt = stack.enter_context(interruptible())
            broker: Broker = RealBroker() if self._options.broker == "kafka" else InProcessBroker()
            stack.enter_context(broker)
            org = stack.enter_context(SandboxOrg(settings=_org_settings()))
            org.add_tasks(self._wanted.tasks)
            broker.create_topics(TOPICS)
            letters = DeadLetters(broker.bootstrap_servers, TOPICS.dead_letter, broker.partitions)
            stack.callback(letters.close)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="processor-demo-"))
            processor = start(_settings(broker, org, folder), broker)
            stack.callback(processor.close)
            self._meet_interrupt()
            if self._options.faults:
                self._outage = Outage(org, self._wanted.events)
            self._began_s, self._began_ms = time.monotonic(), time.time_ns() // 1_000_000
            return self._work(processor, broker, org, letters)

    def _work(
        self, processor: Processor, broker: Broker, org: SandboxOrg, letters: DeadLetters
    ) -> DemoReport:
        """Until everything is settled and judged, or the time is over."""
        with _two_threads(self._stop) as pool:
            worker = pool.submit(processor.run, lambda: self._may_end(processor))
            producer = pool.submit(self._produce, processor, broker, org)

            def look() -> Progress:
                wait_for([worker], LOOK_EVERY_S)
                self._meet_interrupt()
                return self._look(processor, org, letters)

            self._watch(worker, producer, look)
            if not self._drained or not self._options.keep:
                self._stop.set()
                worker.result()
                producer.result()
            report = self._judged(processor, org, letters)
            if self._options.keep and self._drained:
                self._screen.say(f"Until interrupted: {processor.metrics_url()}")
                with suppress(KeyboardInterrupt):
                    while not worker.done():
                        look()
                self._stop.set()
                worker.result()
        return report

    def _watch(
        self, worker: Future[None], producer: Future[None], look: Callable[[], Progress]
    ) -> None:
        """Return when all is done, or nothing has moved for too long, or the worker has ended."""
        moved_s, before = time.monotonic(), None
        while not worker.done() and not self._drained:
            progress = look()
            if producer.done():
                producer.result()
            now = progress.consumed, progress.owed, progress.rows
            if now != before or not producer.done():
                moved_s, before = time.monotonic(), now
            if time.monotonic() - moved_s > GRACE_S:
                return
        look()

    def _may_end(self, processor: Processor) -> bool:
        """Asked by the worker's loop, each time it turns."""
        if self._stop.is_set():
            return True
        if not self._drained and self._all_sent and processor.consumed() >= self._sent:
            self._ended_s = time.monotonic()
            self._drained = processor.drained()
        return self._drained and not self._options.keep

    def _produce(self, processor: Processor, broker: Broker, org: SandboxOrg) -> None:
        producer = TrafficProducer(broker.bootstrap_servers, TOPICS.events, Encoders(TOPICS.events))
        rate = self._rate()
        options, wanted = self._options, self._wanted
        faults = single_faults(options.seed, wanted.events) if options.faults else []
        while not processor.ready():
            if time.monotonic() - self._began_s > START_TIMEOUT_S:
                raise Unavailable("the worker did not get ready")
            if self._stop.wait(0.05):
                return
        began_s = time.monotonic()
        for number, report in enumerate(self._traffic):
            while self._too_early(number, rate, began_s, processor, broker):
                if self._stop.wait(0.01):
                    return
            while faults and faults[0][0] <= number:
                org.inject(*faults.pop(0)[1])
            producer.send(report)
            self._story.sent(report, time.time_ns() // 1_000_000)
            self._sent = producer.sent
        producer.flush()
        self._all_sent = True

    def _rate(self) -> float:
        if self._options.rate is not None:
            return self._options.rate
        return self._wanted.events / SPREAD_S

    def _too_early(
        self, number: int, rate: float, began_s: float, processor: Processor, broker: Broker
    ) -> bool:
        if self._outage is not None and self._outage.holds(number):
            return True
        if rate and number > (time.monotonic() - began_s) * rate:
            return True
        # Asking how much was consumed is not free: now and then will do.
        limit = broker.backlog_max
        return limit is not None and number % 500 == 0 and number - processor.consumed() > limit

    def _look(self, processor: Processor, org: SandboxOrg, letters: DeadLetters) -> Progress:
        """How far it is: shown, and what takes the org down and up."""
        letters.read()
        numbers = OrgNumbers(org)
        consumed, owed = processor.consumed(), self._owed(processor)
        if self._outage is not None:
            self._outage.look(sent=self._sent, consumed=consumed, owed=owed, rows=numbers.rows)
        stage = self._stage(consumed)  # before what is owed: done means that nothing is
        progress = Progress(
            stage=stage,
            seconds=time.monotonic() - self._began_s,
            sent=self._sent,
            events=self._wanted.events,
            consumed=consumed,
            ignored=processor.ignored(),
            dead_letters=letters.count,
            owed=self._owed(processor),
            requests=numbers.requests,
            rows=numbers.rows,
            faults=sum(numbers.faults.values()),
        )
        self._screen.show(progress)
        return progress

    def _owed(self, processor: Processor) -> int:
        """The gauge is renewed once a second; that nothing is owed is known exactly."""
        return 0 if self._drained else processor.owed()

    def _stage(self, consumed: int) -> str:
        if self._drained:
            return "done"
        if self._outage is not None and self._outage.phase is Phase.DOWN:
            return ORG_IS_DOWN
        if not consumed:
            return "starting"
        return "settling" if self._all_sent else "sending"

    def _judged(self, processor: Processor, org: SandboxOrg, letters: DeadLetters) -> DemoReport:
        letters.read_all()
        report = self._report(processor, org, letters)
        if not self._options.json:
            self._screen.end()
            self._screen.say(summary(report))
        return report

    def _report(self, processor: Processor, org: SandboxOrg, letters: DeadLetters) -> DemoReport:
        wanted = self._wanted
        seconds = (self._ended_s if self._drained else time.monotonic()) - self._began_s
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
            owed=self._owed(processor),
            seconds=round(seconds, 2),
            events_per_second=round(wanted.events / seconds, 1),
            seed=self._options.seed,
            broker=self._options.broker,
            org_down=self._outage.result if self._outage is not None else None,
            story=self._story.tell(org, wanted.tasks, self._began_ms),
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

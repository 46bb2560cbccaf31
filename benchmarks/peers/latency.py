"""From an event to its durable status, while events come at a steady pace."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from benchmarks.feed import MESSAGES_PER_S, PARTITIONS, create_events_topic
from benchmarks.peers import statuses
from benchmarks.peers.contenders import UNTIL_ASKED, Course, started
from processor.commands.produce.events import EventEncoder
from processor.errors import Unavailable
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.sandbox.traffic.generator import TASK_KEY, Mix, Report, Traffic

START_S: Final = 180.0  # for a process to answer its first event
LAST_S: Final = 60.0  # for the last status to come
FIRST_EVENTS: Final = 200  # that are sent at once, to see when it is up
STEP_S: Final = 0.001
AGE_S: Final = 3600  # of the model's time when it begins: reports are older than their records
EVENTS_TOPIC: Final = "bench.live"


class Timetable(NamedTuple):
    """So many events a second: first those that are not measured, then those that are."""

    per_s: int
    warm_up_s: float
    measured_s: float

    @property
    def measured_from(self) -> int:
        return FIRST_EVENTS + round(self.per_s * self.warm_up_s)

    @property
    def events(self) -> int:
        return self.measured_from + round(self.per_s * self.measured_s)


class Ready(NamedTuple):
    """An event, encoded. `code`: of a report that will show in its message's history, which
    has it from no earlier one; else None.
    """

    key: str
    value: bytes
    code: int | None


def encoded(timetable: Timetable, seed: int) -> list[Ready]:
    """As many events as a run needs; the same for every run."""
    text = schema_text("delivery_event.avsc")
    encoder = EventEncoder(text, single_object_prefix(text))
    start_ms = round((time.time() - AGE_S) * 1000)
    traffic = Traffic(
        None, seed, mix=Mix(poisoned=0.0), start_ms=start_ms, messages_per_s=MESSAGES_PER_S
    )
    seen: set[tuple[str, int]] = set()
    ready: list[Ready] = []
    for report in traffic:
        if len(ready) == timetable.events:
            break
        ready.append(Ready(report.key, encoder.encode(report.event), _code_to_see(report, seen)))
    return ready


def _code_to_see(report: Report, seen: set[tuple[str, int]]) -> int | None:
    code: int = report.event["status_code"]
    if not report.event["metadata"].get(TASK_KEY) or (report.key, code) in seen:
        return None
    seen.add((report.key, code))
    return code


def measure(
    name: str, course: Course, events: Sequence[Ready], timetable: Timetable
) -> dict[str, Any]:
    """Run one contender over the events. Raises Unavailable where it does not answer."""
    topic = f"{EVENTS_TOPIC}.{course.status_topic}"
    create_events_topic(course.servers, topic)
    course = replace(course, events=UNTIL_ASKED, events_topic=topic)
    with started(name, course) as contender:
        watch = _Watch(course.servers, course.status_topic)
        sender = _Sender(course.servers, topic, watch)
        sender.send(events[:FIRST_EVENTS])
        watch.await_any(time.monotonic() + START_S)
        sender.pace(events[FIRST_EVENTS:], timetable.per_s)
        watch.await_all(time.monotonic() + LAST_S)
        sender.close()
        contender.ask()
        contender.result()
    waits_ms = sorted(
        (watch.seen[event.key, event.code] - sender.sent[event.key, event.code]) * 1000
        for event in events[timetable.measured_from :]
        if event.code is not None and (event.key, event.code) in watch.seen
    )
    cuts = statistics.quantiles(waits_ms, n=100)
    return {
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "longest_ms": round(waits_ms[-1], 1),
        "statuses_seen": len(waits_ms),
        "never_seen": len(watch.expected),
        "events_per_s": round(sender.per_s),
    }


class _Watch:
    """When each code of each message was first seen in a committed status."""

    def __init__(self, servers: str, topic: str) -> None:
        self.expected: set[tuple[str, int]] = set()
        self.seen: dict[tuple[str, int], float] = {}
        self._codec = statuses.codec()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"watch-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.assign(
            [TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)]
        )

    def look(self, wait_s: float) -> None:
        messages = self._consumer.consume(1_000, wait_s)
        now_s = time.monotonic()
        for message in messages:
            self._take(message, now_s)

    def _take(self, message: Message, now_s: float) -> None:
        value = message.value()
        if value is None or message.error() is not None:
            return
        state = self._codec.decode(value)
        for code in state.history:
            self.seen.setdefault((state.message_id, code), now_s)
            self.expected.discard((state.message_id, code))

    def await_any(self, until_s: float) -> None:
        while not self.seen:
            self._look_until(until_s)

    def await_all(self, until_s: float) -> None:
        while self.expected:
            self._look_until(until_s)

    def _look_until(self, until_s: float) -> None:
        if time.monotonic() > until_s:
            raise Unavailable(f"{len(self.expected)} events have no status, and none comes")
        self.look(0.1)


class _Sender:
    """Sends events, and notes when. Looks for statuses meanwhile."""

    def __init__(self, servers: str, topic: str, watch: _Watch) -> None:
        self.sent: dict[tuple[str, int], float] = {}
        self.per_s = 0.0
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 1})
        self._topic = topic
        self._watch = watch

    def send(self, events: Iterable[Ready]) -> None:
        for event in events:
            if event.code is not None:
                self.sent[event.key, event.code] = time.monotonic()
                self._watch.expected.add((event.key, event.code))
            self._producer.produce(
                self._topic, event.value, event.key, timestamp=round(time.time() * 1000)
            )
        self._producer.poll(0)

    def pace(self, events: Sequence[Ready], per_s: int) -> None:
        """Each at its time, or as soon after it as we get to it."""
        began_s, done = time.monotonic(), 0
        while done < len(events):
            due = min(len(events), int((time.monotonic() - began_s) * per_s))
            self.send(events[done:due])
            done = due
            self._watch.look(STEP_S)
        self.per_s = len(events) / (time.monotonic() - began_s)

    def close(self) -> None:
        """What nobody waits for is sent, too."""
        self._producer.flush(LAST_S)

"""Who takes part, and how each is started on a broker."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.feed import DEAD_LETTER_TOPIC, EVENTS_TOPIC, create_status_topic
from benchmarks.peers import streams
from benchmarks.peers.processes import Contender

BARE: Final = "bare"
WORKER: Final = "worker"
STREAMS: Final = "kafka_streams"
STREAMS_2: Final = "kafka_streams_2"
NAMES: Final = (BARE, WORKER, STREAMS, STREAMS_2)
THREADS: Final = {STREAMS: 1, STREAMS_2: 2}
UNTIL_ASKED: Final = 0  # events to read


@dataclass(frozen=True, slots=True)
class Course:
    """What there is to read, and the topic to create for the statuses.

    `warm_up`: events that come first and are not measured. `wait_s`: the longest that a batch of
    the worker waits for events; `commit_s`: from one commit of Kafka Streams to the next;
    `caching`: in front of its store; `sources`: of its program; `jvm`: options of Java.
    """

    servers: str
    events: int
    status_topic: str
    warm_up: int = 0
    events_topic: str = EVENTS_TOPIC
    dead_letter_topic: str = DEAD_LETTER_TOPIC
    batch: int = 50_000
    wait_s: float = 0.5
    commit_s: float = 0.1
    caching: bool = True
    sources: Path = streams.SOURCES
    jvm: Sequence[str] = streams.JVM


@contextmanager
def started(name: str, course: Course) -> Iterator[Contender]:
    """The contender's process. Raises ConfigError where its tools are missing."""
    create_status_topic(course.servers, course.status_topic)
    directory = Path(tempfile.mkdtemp(prefix="bench-state-"))
    try:
        with Contender(_command(name, course, directory)) as contender:
            yield contender
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(name: str, course: Course) -> dict[str, Any]:
    """From its start to its end; the measures. Those of the process are per event as well."""
    with started(name, course) as contender:
        result = contender.result()
    result["process_cpu_us_per_event"] = round(result["process_cpu_s"] / course.events * 1e6, 2)
    return result


def _command(name: str, course: Course, directory: Path) -> list[str]:
    if name == BARE:
        return [
            *(sys.executable, "-m", "benchmarks.bare", course.servers, str(course.events)),
            str(course.warm_up),
        ]
    if name == WORKER:
        return [
            *(sys.executable, "-m", "benchmarks.worker", course.servers, str(course.events)),
            *("--warm-up", str(course.warm_up)),
            *("--batch", str(course.batch)),
            *("--wait-s", str(course.wait_s)),
            *("--events-topic", course.events_topic),
            *("--status-topic", course.status_topic),
        ]
    return [
        *("java", *course.jvm, "-cp", streams.class_path(course.sources), "Main"),
        *("--servers", course.servers),
        *("--events", str(course.events)),
        *("--warm-up", str(course.warm_up)),
        *("--threads", str(THREADS[name])),
        *("--events-topic", course.events_topic),
        *("--status-topic", course.status_topic),
        *("--dead-letter-topic", course.dead_letter_topic),
        *("--application-id", course.status_topic),
        *("--commit-ms", str(round(course.commit_s * 1000))),
        *("--caching", "on" if course.caching else "off"),
        *("--schemas", str(streams.SCHEMAS)),
        *("--state", str(directory)),
    ]

"""Rounds of all contenders in turn, and the report of what they took."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.feed import PARTITIONS, fill
from benchmarks.peers import figures, latency, statuses
from benchmarks.peers.contenders import BARE, STREAMS, WORKER, Course, run
from processor.config.settings import Settings
from processor.sandbox.servers.kafka import KAFKA_VERSION

WARM_UP: Final = 0.2  # of the events: Java compiles what it runs while it runs it
STREAMS_COMMIT_S: Final = 0.1  # what Kafka Streams takes by itself with exactly-once


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. `commit_s`: of Kafka Streams, except for latency."""

    events: int
    rounds: int
    names: Sequence[str]
    batch: int
    commit_s: float
    caching: bool
    timetable: latency.Timetable
    seed: int


def measured(servers: str, plan: Plan) -> dict[str, Any]:
    """The whole report, from an empty broker."""
    say(f"producing {plan.events:,} events ...")
    fed = fill(servers, plan.events, plan.seed)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in plan.names}
    compared: list[dict[str, Any]] = []
    for number in range(1, plan.rounds + 1):
        published: dict[str, statuses.Published] = {}
        for name in plan.names:
            say(f"round {number}: {name} ...")
            result = run(name, _course(servers, plan, f"bench-{number}-{name}"))
            if name != BARE:
                published[name] = statuses.read(servers, f"bench-{number}-{name}", PARTITIONS)
                result["statuses"] = published[name].records
            results[name].append(result)
            say(f"    {result['events_per_s']:,} events/s, {result['cpu_us_per_event']} µs of CPU")
        compared += _compared(published)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": _machine(),
        "kafka": KAFKA_VERSION,
        "fed": dict(fed),
        "partitions": PARTITIONS,
        "warm_up": int(plan.events * WARM_UP),
        "form": next((result["form"] for result in results.get(WORKER, ())), None),
        "kafka_streams_commit_ms": round(plan.commit_s * 1000),
        "kafka_streams_caching": plan.caching,
        "ratios": figures.ratios(results),
        "medians": figures.medians(results),
        "compared": compared,
        "latency": _latency(servers, plan),
        "rounds": results,
    }


def _course(servers: str, plan: Plan, status_topic: str) -> Course:
    return Course(
        servers,
        plan.events,
        status_topic,
        warm_up=int(plan.events * WARM_UP),
        batch=plan.batch,
        commit_s=plan.commit_s,
        caching=plan.caching,
    )


def _compared(published: dict[str, statuses.Published]) -> list[dict[str, Any]]:
    """The worker's final statuses with those of every other contender that has some."""
    ours = published.get(WORKER)
    if ours is None:
        return []
    return [
        {"with": name, **statuses.compare(ours.last, theirs.last)._asdict()}
        for name, theirs in published.items()
        if name != WORKER
    ]


def _latency(servers: str, plan: Plan) -> dict[str, Any] | None:
    """The worker with its default settings, and both with the same time between commits."""
    if not plan.timetable.per_s:
        return None
    say("encoding events for latency ...")
    events = latency.encoded(plan.timetable, plan.seed)
    own_s = Settings().batch.timeout_s
    every_s = [(WORKER, own_s), (WORKER, STREAMS_COMMIT_S), (STREAMS, STREAMS_COMMIT_S)]
    runs = []
    for name, wait_s in every_s:
        if name not in plan.names:
            continue
        wait_ms = round(wait_s * 1000)
        say(f"latency: {name}, {wait_ms} ms ...")
        course = Course(servers, 0, f"bench-live-{name}-{wait_ms}", wait_s=wait_s, commit_s=wait_s)
        found = latency.measure(name, course, events, plan.timetable)
        say(f"    median {found['p50_ms']} ms, 99 % {found['p99_ms']} ms")
        runs.append({"name": name, "every_ms": wait_ms, **found})
    return {
        "events_per_s": plan.timetable.per_s,
        "seconds": plan.timetable.measured_s,
        "runs": runs,
    }


def _machine() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}"


def say(text: str) -> None:
    """On standard error: standard output is the result."""
    print(text, file=sys.stderr, flush=True)

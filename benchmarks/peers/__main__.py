"""The worker beside a bare loop and beside Kafka Streams, on one topic of one broker, in turn.

    python -m benchmarks.peers [--events 2000000] [--rounds 3] [--only worker,bare] [--json PATH]

Prints one JSON object; see benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.feed import PARTITIONS, fill
from benchmarks.peers import figures, statuses
from benchmarks.peers.contenders import BARE, NAMES, STREAMS, WORKER, Course, run
from processor.errors import ConfigError
from processor.sandbox.servers.kafka import KAFKA_VERSION, KafkaServer

WARM_UP: Final = 0.2  # of the events: Java compiles what it runs while it runs it


def main() -> int:
    """Measure, compare, print."""
    options = _arguments()
    try:
        with KafkaServer(heap="1g") as server:
            report = _measured(server.bootstrap_servers, options)
    except ConfigError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _measured(servers: str, options: argparse.Namespace) -> dict[str, Any]:
    _say(f"producing {options.events} events ...")
    fed = fill(servers, options.events, options.seed)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    compared = []
    for number in range(1, options.rounds + 1):
        published: dict[str, statuses.Published] = {}
        for name in options.only:
            _say(f"round {number}: {name} ...")
            course = Course(
                servers,
                options.events,
                f"bench-{number}-{name}",
                warm_up=int(options.events * WARM_UP),
                batch=options.batch,
                commit_s=options.commit_ms / 1000,
                caching=options.caching,
            )
            result = run(name, course)
            if name != BARE:
                found = statuses.read(servers, course.status_topic, PARTITIONS)
                result["statuses"] = found.records
                published[name] = found
            results[name].append(result)
            _say(f"    {result['events_per_s']} events/s, {result['cpu_us_per_event']} us CPU")
        compared += _compared(published)
    return _report(options, fed, results, compared)


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


def _report(
    options: argparse.Namespace,
    fed: Counter[str],
    results: dict[str, list[dict[str, Any]]],
    compared: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": _machine(),
        "kafka": KAFKA_VERSION,
        "fed": dict(fed),
        "partitions": PARTITIONS,
        "warm_up": int(options.events * WARM_UP),
        "form": next((r["form"] for r in results.get(WORKER, ())), None),
        "commit_ms": options.commit_ms,
        "caching": options.caching,
        "ratios": figures.ratios(results),
        "medians": figures.medians(results),
        "compared": compared,
        "rounds": results,
    }


def _machine() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {NAMES}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=2_000_000, help="that each of them reads")
    parser.add_argument("--rounds", type=int, default=3, help="of all of them, in turn")
    parser.add_argument(
        "--only",
        type=_names,
        default=(BARE, WORKER, STREAMS),
        help=f"who takes part, of {','.join(NAMES)}",
    )
    parser.add_argument("--json", type=Path, help="a file to write the result to as well")
    parser.add_argument("--batch", type=int, default=50_000, help="events a batch of the worker's")
    parser.add_argument(
        "--commit-ms", type=int, default=100, help="from commit to commit of Kafka Streams"
    )
    parser.add_argument(
        "--caching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="in front of Kafka Streams' store",
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

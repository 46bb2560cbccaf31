"""The worker beside a bare loop and beside Kafka Streams, on one topic of one broker, in turn.

    python -m benchmarks.peers [--events 2000000] [--rounds 3] [--only worker,bare] [--publish]

Prints one JSON object; benchmarks/README.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import page
from benchmarks.peers.contenders import BARE, NAMES, STREAMS, WORKER
from benchmarks.peers.latency import Timetable
from benchmarks.peers.race import Plan, measured
from processor.errors import ConfigError
from processor.sandbox.servers.kafka import KafkaServer


def main() -> int:
    """Measure, compare, print."""
    options = _arguments()
    try:
        report = _report(options)
    except ConfigError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.publish:
        page.publish(report)
    return 0


def _report(options: argparse.Namespace) -> dict[str, Any]:
    if options.saved is not None:
        saved: dict[str, Any] = json.loads(options.saved.read_text(encoding="utf-8"))
        return saved
    plan = Plan(
        events=options.events,
        rounds=options.rounds,
        names=options.only,
        batch=options.batch,
        commit_s=options.commit_ms / 1000,
        caching=options.caching,
        timetable=Timetable(options.latency_rate, options.latency_warm_up_s, options.latency_s),
        seed=options.seed,
    )
    with KafkaServer(heap="1g") as server:
        return measured(server.bootstrap_servers, plan)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {NAMES}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--events", type=int, default=2_000_000, help="the number of events that each one reads")
    add("--rounds", type=int, default=3, help="the number of rounds; a round is one run of each")
    add(
        "--only",
        type=_names,
        default=(BARE, WORKER, STREAMS),
        help=f"who takes part: some of {','.join(NAMES)}",
    )
    add("--json", type=Path, help="a file to write the result to, besides standard output")
    add(
        "--publish",
        action="store_true",
        help=f"write {page.RESULT}, {page.PICTURE} and the tables in {page.PAGE}",
    )
    add("--saved", type=Path, help="a result to take instead of measuring, with --publish")
    add("--batch", type=int, default=50_000, help="the most events in a batch of the worker")
    add("--commit-ms", type=int, default=1_000, help="the commit interval of Kafka Streams")
    add(
        "--caching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether Kafka Streams has a cache in front of its store",
    )
    add(
        "--latency-rate",
        type=int,
        default=1_000,
        help="events per second while latency is measured; 0 leaves latency out",
    )
    add("--latency-warm-up-s", type=float, default=20, help="seconds before that are not measured")
    add("--latency-s", type=float, default=60, help="seconds that are measured")
    add("--seed", type=int, default=1, help="of the traffic")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

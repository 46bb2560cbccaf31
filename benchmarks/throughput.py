"""Events per second through the whole worker, beside the bare loop, in the same run.

    python -m benchmarks.throughput [--events 1000000] [--runs 1]

The bare loop consumes and decodes each event with fastavro, and does nothing else. The worker
does its whole job (decode, collapse, store, transactional outbox, settled statuses) with a
Salesforce stand-in that answers at once. Both read the same topic of a real Apache Kafka, each
in a process of its own, one after the other. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import Counter
from typing import Any

from benchmarks.feed import EVENTS_TOPIC, PARTITIONS, fill
from processor.errors import ConfigError
from processor.sandbox.servers.kafka import KafkaServer


def main() -> int:
    """Fill a topic, measure both, print the comparison."""
    options = _arguments()
    try:
        server = KafkaServer(heap="1g")
    except ConfigError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    with server:
        print(f"producing {options.events} events ...", file=sys.stderr)
        fed = fill(server.bootstrap_servers, options.events, options.seed)
        measured: dict[str, list[dict[str, Any]]] = {"bare": [], "worker": []}
        for run in range(options.runs):
            for name, results in measured.items():
                print(f"run {run + 1}: {name} ...", file=sys.stderr)
                results.append(_measure(name, server.bootstrap_servers, fed["events"], options))
    print(json.dumps(_report(measured, fed), indent=2))
    return 0


def _measure(name: str, servers: str, events: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{name}", servers, str(events)]
    if name == "worker":
        command += ["--batch", str(options.batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _report(measured: dict[str, list[dict[str, Any]]], fed: Counter[str]) -> dict[str, Any]:
    rates = {
        name: statistics.median(result["events_per_s"] for result in results)
        for name, results in measured.items()
    }
    ratios = [
        worker["events_per_s"] / bare["events_per_s"]
        for bare, worker in zip(measured["bare"], measured["worker"], strict=True)
    ]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bare_events_per_s": round(rates["bare"]),
        "worker_events_per_s": round(rates["worker"]),
        "fed": dict(fed),
        "topic": EVENTS_TOPIC,
        "partitions": PARTITIONS,
        **{name: results[-1] for name, results in measured.items()},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000, help="at least so many")
    parser.add_argument("--runs", type=int, default=1, help="of both, in turn")
    parser.add_argument("--batch", type=int, default=50_000, help="events while catching up")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

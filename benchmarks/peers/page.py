"""The figures in the documents: a table and a picture, made from a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.picture import LABELS, latency_label, picture

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = Path("benchmarks/README.md")
PICTURE: Final = Path("docs/kafka-streams.svg")
RESULT: Final = Path("docs/kafka-streams.json")
_BEGIN: Final = "<!-- written by `make bench-peers`, from here -->"
_END: Final = "<!-- to here -->"


def publish(report: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write the result, its picture, and its tables into the page."""
    (root / RESULT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (root / PICTURE).write_text(picture(report), encoding="utf-8")
    page = root / PAGE
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{tables(report)}\n{_END}{after}", encoding="utf-8")


def tables(report: Mapping[str, Any]) -> str:
    """What the page shows of a result."""
    lines = [_circumstances(report), "", *_throughput(report), "", *_ratios(report)]
    if report.get("latency"):
        lines += ["", *_latency(report["latency"])]
    lines += ["", *_agreement(report)]
    return "\n".join(lines)


def _circumstances(report: Mapping[str, Any]) -> str:
    fed, rounds = report["fed"], len(next(iter(report["rounds"].values())))
    return (
        f"{report['date']}, {report['machine']}, Kafka {report['kafka']}: {fed['events']:,} events "
        f"of {fed['messages']:,} messages in {report['partitions']} partitions, "
        f"{_times(rounds, 'round')}, the worker in its {report['form']} form. Medians:"
    )


def _throughput(report: Mapping[str, Any]) -> Iterator[str]:
    yield "| | events/s | CPU µs/event | with its start | peak memory, MB | statuses published |"
    yield "|---|---|---|---|---|---|"
    for name, found in report["medians"].items():
        published = f"{found['statuses']:,.0f}" if "statuses" in found else "–"
        yield (
            f"| {LABELS[name]} | {found['events_per_s']:,.0f} | {found['cpu_us_per_event']:.1f} | "
            f"{found['process_cpu_us_per_event']:.1f} | {found['peak_memory_mb']:,.0f} | "
            f"{published} |"
        )


def _ratios(report: Mapping[str, Any]) -> Iterator[str]:
    yield "| ratio | median | round by round |"
    yield "|---|---|---|"
    for name, found in report["ratios"].items():
        rounds = ", ".join(f"{ratio:.2f}" for ratio in found["rounds"])
        yield f"| {_RATIOS[name]} | **{found['median']:.2f}** | {rounds} |"


_RATIOS: Final = {
    "worker_to_bare_events_per_s": "worker to bare loop, events/s",
    "worker_to_kafka_streams_events_per_s": "worker to Kafka Streams, events/s",
    "worker_to_kafka_streams_cpu": "worker to Kafka Streams, CPU per event",
    "worker_to_kafka_streams_process_cpu": "the same with their start",
    "worker_to_kafka_streams_peak_memory": "worker to Kafka Streams, peak memory",
}


def _latency(latency: Mapping[str, Any]) -> Iterator[str]:
    rate = f"{latency['events_per_s']:,}"
    yield f"| from event to committed status, at {rate} events/s | median, ms | 99 %, ms |"
    yield "|---|---|---|"
    for run in latency["runs"]:
        yield f"| {latency_label(run)} | {run['p50_ms']:,.0f} | {run['p99_ms']:,.0f} |"


def _agreement(report: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys(one["with"] for one in report["compared"]):
        runs = [one for one in report["compared"] if one["with"] == name]
        wrong = sum(run["codes"] + run["others"] + run["missing"] for run in runs)
        yield (
            f"Final statuses that differ between the worker and {LABELS[name]}: **{wrong}** "
            f"of {sum(run['equal'] for run in runs) + wrong:,}."
        )


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

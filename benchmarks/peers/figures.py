"""Rounds of measures -> medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.peers.contenders import BARE, STREAMS, WORKER

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""By contender: the measures of each round."""

MEDIANS: Final = (
    "events_per_s",
    "cpu_us_per_event",
    "process_cpu_us_per_event",
    "peak_memory_mb",
    "statuses",
)
_RATIOS: Final = {
    "worker_to_bare_events_per_s": (WORKER, BARE, "events_per_s"),
    "worker_to_kafka_streams_events_per_s": (WORKER, STREAMS, "events_per_s"),
    "worker_to_kafka_streams_cpu": (WORKER, STREAMS, "cpu_us_per_event"),
    "worker_to_kafka_streams_process_cpu": (WORKER, STREAMS, "process_cpu_us_per_event"),
    "worker_to_kafka_streams_peak_memory": (WORKER, STREAMS, "peak_memory_mb"),
}


def medians(results: Results) -> dict[str, dict[str, float]]:
    """Of each contender's measures, over the rounds."""
    return {
        name: {
            measure: statistics.median(one[measure] for one in rounds)
            for measure in MEDIANS
            if measure in rounds[0]
        }
        for name, rounds in results.items()
    }


def ratios(results: Results) -> dict[str, dict[str, Any]]:
    """Round by round, because a machine is faster at one time than at another; and the median."""
    found = {}
    for name, (one, other, measure) in _RATIOS.items():
        if one in results and other in results:
            by_round = [
                round(a[measure] / b[measure], 3)
                for a, b in zip(results[one], results[other], strict=True)
            ]
            found[name] = {"median": round(statistics.median(by_round), 3), "rounds": by_round}
    return found

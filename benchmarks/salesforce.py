"""CPU per row from owed to settled, through the real writer and HTTP.

    python -m benchmarks.salesforce [--rows 200000] [--runs 3]

Rows that are owed are handed over as the worker does it, written by simple-salesforce's login and
requests' connections to an org in another process, and come back as settlements. What is measured
is this process alone: not the org, and not the store. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from benchmarks.salesforce_org import FIELDS as TYPES
from processor.commands.compose import ORG, rules
from processor.config.settings import CONNECT_TIMEOUT_S, DEFAULT_FIELDS, Settings
from processor.core.events import IN_FLIGHT, MessageState
from processor.ports import Owed, Store
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging
from processor.salesforce import sender, transport
from processor.salesforce.client import Client, Login
from processor.salesforce.collections import id_checksum
from processor.salesforce.meter import NoMeter
from processor.salesforce.writer import SalesforceWriter, WriterSettings, window_of
from processor.worker.dispatcher import NO_ROOM_WAIT_S, Dispatcher
from processor.worker.partition import Partition
from processor.worker.settlements import Settlements

PARTITIONS: Final = 6
CODES: Final = (220, 220, 220, 221, 402, 200)
ROWS_FIRST: Final = 10_000  # not measured: the login, describe, and what is made once

Spent = dict[str, float]


def main() -> None:
    """Measure some runs in this process, against one org."""
    options = _arguments()
    set_up_logging("WARNING")
    assert TYPES.keys() == DEFAULT_FIELDS.keys()
    watch = Stopwatch()
    watch.step(sender, "update_call", "build the request")
    watch.step(Client, "send", "HTTP")
    watch.step(transport, "parse_json", "parse the answer")
    watch.step(sender, "read_parts", "read the results")
    watch.step(sender, "read_rows", "read the results")
    watch.step(sender.Sender, "send", "encode the values, give verdicts")
    with _org() as url:
        runs = [_run(url, options, watch) for _ in range(options.runs)]
    print(json.dumps(_report(runs), indent=2))


class Stopwatch:
    """Adds up the CPU time of steps, of each without the steps inside it. Per request, not row."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self.spent: Spent = {}

    def step(self, owner: Any, name: str, step: str) -> None:
        """Time a function of a module, or a method of a class, from now on."""
        wrapped: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.of(step):
                return wrapped(*args, **kwargs)

        setattr(owner, name, timed)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Time what happens within."""
        inner_s = getattr(self._own, "inner_s", 0.0)
        self._own.inner_s = 0.0
        began_s = time.thread_time()
        try:
            yield
        finally:
            took_s = time.thread_time() - began_s
            with self._lock:
                self.spent[step] = self.spent.get(step, 0.0) + took_s - self._own.inner_s
            self._own.inner_s = inner_s + took_s


class _Tally(NoMeter):
    """Counts requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    def request(self, kind: str, result: str, seconds: float) -> None:  # noqa: ARG002
        self.requests[f"{kind} {result}"] += 1


class _Held:
    """A lease that nobody takes away."""

    def holds(self, partitions: Collection[int]) -> bool:  # noqa: ARG002
        return True


class _Watched(SalesforceWriter):
    """Times what the worker's thread asks of the writer."""

    watch: Stopwatch

    def submit(self, rows: Sequence[Owed]) -> None:
        with self.watch.of("queue"):
            super().submit(rows)


class _Settling:
    """The worker's thread: hands owed rows over, and takes their results."""

    def __init__(self, writer: _Watched, watch: Stopwatch) -> None:
        self._writer, self._watch = writer, watch
        settings = Settings()
        self._partitions = {number: _Numbered(number) for number in range(PARTITIONS)}
        for partition in self._partitions.values():
            partition.settlements = Settlements(rules(settings))
        no_store = cast("Store", None)  # rows are submitted here, and not looked for
        self._dispatcher = Dispatcher(no_store, writer, settings.salesforce.fields, ORG)
        self._clock = SystemClock()

    def settle(self, owed: Sequence[tuple[int, MessageState]]) -> None:
        """Return when all of them are settled."""
        handed = settled = 0
        while settled < len(owed):
            if room := self._dispatcher.room():
                self._hand_over(owed[handed : handed + room])
                handed = min(len(owed), handed + room)
            with self._watch.of("results"):
                results = self._writer.results()
            with self._watch.of("settle"):
                now = self._clock.now_ms()
                for result in results:
                    kept = self._partitions[result.partition].settlements
                    assert kept.take(result, now) is None, result
                for partition in self._partitions.values():
                    settlements = partition.settlements.of(None)
                    partition.settlements.published(settlements)
                    settled += len(settlements)
            self._writer.wait(NO_ROOM_WAIT_S)

    def _hand_over(self, owed: Sequence[tuple[int, MessageState]]) -> None:
        rows: dict[int, list[MessageState]] = {}
        for number, state in owed:
            rows.setdefault(number, []).append(state)
        with self._watch.of("hand over"):
            for number, states in rows.items():
                partition = cast("Partition", self._partitions[number])
                self._dispatcher.submit(partition, states, self._clock.now_ms())


class _Numbered:
    """What of a partition the dispatcher needs."""

    settlements: Settlements

    def __init__(self, number: int) -> None:
        self.number = number


def _run(url: str, options: argparse.Namespace, watch: Stopwatch) -> dict[str, Any]:
    tally = _Tally()
    settings = Settings().salesforce
    login = Login(
        domain="acme.my",
        consumer_key="key",
        consumer_secret="secret",  # noqa: S106 - of an org that takes any
        username=None,
        private_key=None,
        endpoint_url=url,
        api_version=settings.api_version,
        request_timeout_s=(CONNECT_TIMEOUT_S, settings.request_timeout_s),
        expected_org_id=None,
    )
    limits = WriterSettings(
        window_rows=window_of(settings.requests_in_flight),
        linger_s=settings.linger_s,
        requests_in_flight=settings.requests_in_flight,
    )
    writer = _Watched(ORG, Client(login, tally), SystemClock(), _Held(), limits, tally)
    writer.watch = watch
    worker = _Settling(writer, watch)
    first, owed = _states(ROWS_FIRST), _states(options.rows)
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)  # as `processor run` does
    worker.settle(first)
    tally.requests.clear()
    watch.spent.clear()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    worker.settle(owed)
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    writer.close(5.0)
    spent = dict(watch.spent)
    spent["rest: threads, results, waiting"] = cpu_s - sum(spent.values())
    return {
        "cpu_us_per_row": round(cpu_s / options.rows * 1e6, 2),
        "rows_per_s": round(options.rows / wall_s),
        "requests": dict(tally.requests),
        "us_per_row": {step: round(s / options.rows * 1e6, 2) for step, s in spent.items()},
    }


def _states(count: int) -> list[tuple[int, MessageState]]:
    """Rows as they are owed, of different Tasks, by partition."""
    now = time.time_ns() // 1_000_000
    states = []
    for number in range(count):
        short = f"00T8d{number:010d}"
        code = CODES[number % len(CODES)]
        state = MessageState(
            message_id=str(uuid.uuid4()),
            history={code: now},
            code=code,
            task_id=short + id_checksum(short),
            task_at=now,
            account_id=None,
            account_at=now,
            version=1,
            version_at=now,
            due_at=IN_FLIGHT,
        )
        states.append((number % PARTITIONS, state))
    return states


@contextmanager
def _org() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.salesforce_org"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as org:
        try:
            assert org.stdout is not None
            yield f"http://127.0.0.1:{int(org.stdout.readline())}"
        finally:
            org.kill()


def _report(runs: list[dict[str, Any]]) -> dict[str, Any]:
    steps = runs[0]["us_per_row"]
    return {
        "cpu_us_per_row": statistics.median(run["cpu_us_per_row"] for run in runs),
        "rows_per_s": statistics.median(run["rows_per_s"] for run in runs),
        "us_per_row": {
            step: round(statistics.median(run["us_per_row"][step] for run in runs), 2)
            for step in sorted(steps, key=lambda step: -float(steps[step]))
        },
        "requests": runs[-1]["requests"],
        "runs": [run["cpu_us_per_row"] for run in runs],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()

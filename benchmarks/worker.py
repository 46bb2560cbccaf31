"""The whole worker over the topic, with the time each step took."""

from __future__ import annotations

import argparse
import gc
import json
import resource
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.feed import DEAD_LETTER_TOPIC, EVENTS_TOPIC, create_status_topic
from processor import FORM
from processor.commands.compose import rules
from processor.config.settings import Settings
from processor.core.breaker import BreakerRules
from processor.core.report.fields import Oddities, ReportRules
from processor.core.settle import Settled
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.outbox import KafkaOutbox, Names
from processor.kafka.source import KafkaSource
from processor.ports import Owed, Result, Transaction
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging
from processor.runtime.machine import prepare
from processor.runtime.metrics import Metrics
from processor.store.store import LmdbStore
from processor.worker.claim import Claim
from processor.worker.cycle import Limits, Ports, Worker
from processor.worker.lease import Lease, Ownership

FIELDS = {"SMS_Status__c": "category", "SMS_Status_Code__c": "code"}
DAY_MS = 86_400_000
LEASE_S = 20.0
UNTIL_ASKED = 0  # events to read


class InstantWriter:
    """A Salesforce that confirms every row at once."""

    def __init__(self) -> None:
        self.rows = 0
        self._results: list[Result] = []

    def room(self, org: str) -> int:  # noqa: ARG002 - there is one org
        return 50_000

    def submit(self, rows: Sequence[Owed]) -> None:
        settled = Settled()
        self.rows += len(rows)
        self._results += [Result(row[0], row[1], row[2], settled) for row in rows]

    def results(self) -> list[Result]:
        results, self._results = self._results, []
        return results

    def wait(self, timeout_s: float) -> None: ...
    def quiesce(self, partitions: Collection[int], deadline_s: float) -> None: ...
    def drop(self, partitions: Collection[int]) -> None: ...

    def ready(self) -> bool:
        return True

    def close(self, deadline_s: float) -> None: ...


class Timed:
    """Adds up the wall and CPU time of some methods of an object. Called once per batch."""

    def __init__(self, wrapped: Any, steps: dict[str, list[float]], **names: str) -> None:
        self._wrapped = wrapped
        self._steps = steps
        self._names = names

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        if name in self._names:
            spent = self._steps.setdefault(self._names[name], [0.0, 0.0])
            attribute = self._timed(attribute, spent)
        setattr(self, name, attribute)
        return attribute

    @staticmethod
    def _timed(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*args)
            finally:
                spent[0] += time.perf_counter() - wall
                spent[1] += time.thread_time() - cpu

        return timed


def main() -> None:
    """Read all events through the worker and print what it took."""
    options = _arguments()
    prepare()
    set_up_logging("ERROR")  # not of each spoilt event
    directory = Path(tempfile.mkdtemp(prefix="bench-state-"))
    steps: dict[str, list[float]] = {}
    writer = InstantWriter()
    worker, source, reader, written = _compose(options, directory, steps, writer)
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)
    try:
        source.subscribe(worker)
        if options.events == UNTIL_ASKED:
            _run_until_asked(worker)
            return
        while reader.read <= options.warm_up:
            worker.turn()
        for spent in steps.values():
            spent[:] = 0.0, 0.0
        read_before = reader.read
        began_s, cpu_s, main_s = time.perf_counter(), time.process_time(), time.thread_time()
        memory: list[int] = []
        while reader.read < options.events:
            worker.turn()
            if reader.read >= options.events * (len(memory) + 1) / 10:
                memory.append(_own_mb())
        worker.close()
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        main_s = time.thread_time() - main_s
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    events = options.events - read_before
    steps["rest"] = [
        wall_s - sum(spent[0] for spent in steps.values()),
        main_s - sum(spent[1] for spent in steps.values()),
    ]
    result = {
        "form": FORM,
        "events_per_s": round(events / wall_s),
        "seconds": round(wall_s, 2),
        "cpu_us_per_event": round(cpu_s / events * 1e6, 2),
        "us_per_event": {
            name: {"wall": round(wall / events * 1e6, 2), "cpu": round(cpu / events * 1e6, 2)}
            for name, (wall, cpu) in sorted(steps.items())
        },
        "statuses_per_event": round(written.statuses / options.events, 3),
        "salesforce_rows_per_event": round(writer.rows / options.events, 3),
        "own_memory_mb_by_tenth": memory,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


def _run_until_asked(worker: Worker) -> None:
    """Until standard input ends."""
    asked = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        asked.set()

    threading.Thread(target=wait, daemon=True).start()
    worker.run(asked.is_set)
    print(json.dumps({"form": FORM}))


class CountingSource(Timed):
    """Counts the records handed out."""

    read = 0

    def poll(self, max_records: int, timeout_s: float) -> Any:
        records = self._polled(max_records, timeout_s)
        self.read += sum(map(len, records.values()))
        return records

    @property
    def _polled(self) -> Callable[[int, float], Any]:
        return self._timed(self._wrapped.poll, self._steps.setdefault("consume", [0.0, 0.0]))


class CountingOutbox(Timed):
    """Counts the statuses committed."""

    statuses = 0

    def commit(self, transaction: Transaction) -> Any:
        self.statuses += sum(map(len, transaction.statuses.values()))
        return self._committed(transaction)

    @property
    def _committed(self) -> Callable[..., Any]:
        spent = self._steps.setdefault("encode, produce and commit", [0.0, 0.0])
        return self._timed(self._wrapped.commit, spent)


def _compose(
    options: argparse.Namespace,
    directory: Path,
    steps: dict[str, list[float]],
    writer: InstantWriter,
) -> tuple[Worker, KafkaSource, CountingSource, CountingOutbox]:
    clock = SystemClock()
    group = options.status_topic or f"bench-{uuid.uuid4()}"
    if not options.status_topic:
        create_status_topic(options.servers, group)
    settings = Settings()
    source = KafkaSource(
        options.servers,
        group,
        options.events_topic,
        options={},
        group_protocol=settings.kafka.group_protocol,
        session_timeout_ms=settings.kafka.session_timeout_ms,
    )
    schema = schema_text("delivery_status.avsc")
    outbox = KafkaOutbox(
        options.servers,
        source,
        StatusCodec(schema, single_object_prefix(schema)),
        Names(group, options.events_topic, group, DEAD_LETTER_TOPIC),
        options={},
        transactional_id=None,
    )
    outbox.renew()
    reading = ReportRules(settings.events.time_fields, settings.salesforce.task_id_metadata_key)
    decoder = AvroDecoder([schema_text("delivery_event.avsc")], reading, Oddities(), plain=False)
    claim = Claim(group, "", "")
    store = LmdbStore(directory, group, clock=clock, delete_retention_ms=DAY_MS)
    reader = CountingSource(source, steps)
    written = CountingOutbox(outbox, steps)
    ports = Ports(
        source=reader,
        decoder=Timed(decoder, steps, decode="decode"),
        outbox=written,
        store=Timed(store, steps, get_many="store read", put_many="store write", due="store due"),
        writer=Timed(writer, steps, submit="salesforce", results="salesforce"),
        meter=Metrics(CollectorRegistry()),
        clock=clock,
        claim=claim,
        lease=Lease(Ownership(LEASE_S), clock, claim),
    )
    limits = Limits(
        batch_records=5_000,
        catch_up_records=options.batch,
        poll_timeout_s=options.wait_s,
        settle_interval_s=5.0,
        revoke_deadline_s=30.0,
        breaker=BreakerRules(),
    )
    return Worker(ports, rules(Settings()), limits, FIELDS), source, reader, written


def _own_mb() -> int:
    """Memory of our own: pages of the store's file are the kernel's, and can be had back."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) // 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    parser.add_argument("events", type=int, help=f"{UNTIL_ASKED}: until standard input ends")
    parser.add_argument("--batch", type=int, default=50_000)
    parser.add_argument("--warm-up", type=int, default=0, help="events that are not measured")
    parser.add_argument("--wait-s", type=float, default=0.5)
    parser.add_argument("--events-topic", default=EVENTS_TOPIC)
    parser.add_argument("--status-topic", default="", help="that exists; and the group")
    return parser.parse_args()


if __name__ == "__main__":
    main()

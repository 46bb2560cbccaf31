"""One process's restoration of a status topic, with the time and memory that it took."""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
from collections.abc import Collection
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.worker import Timed
from processor.commands.compose import rules
from processor.config.settings import Settings
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.outbox import KafkaOutbox, Names
from processor.kafka.source import KafkaSource
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging
from processor.store.store import LmdbStore
from processor.worker.claim import Claim
from processor.worker.restoration import Restoration, Restorations

DAY_MS = 86_400_000
SAMPLES = 12


class Alone:
    """A group that has given nothing: what is restored here was assigned by nobody."""

    def assigned(self) -> Collection[int]:
        return ()

    def is_stable(self, partition: int) -> bool:  # noqa: ARG002 - there was no owner before
        return True

    def member(self) -> bytes | None:
        return None


def main() -> None:
    """Take over all partitions at once, and print what it took."""
    options = _arguments()
    set_up_logging("WARNING")
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)
    clock = SystemClock()
    steps: dict[str, list[float]] = {}
    events, partitions = f"{options.topic}-events", options.partitions
    _make(options.servers, events, partitions)
    source = _source(options, events)
    schema = schema_text("delivery_status.avsc")
    codec = StatusCodec(schema, single_object_prefix(schema))
    names = Names(options.topic, events, options.topic, events)
    outbox = KafkaOutbox(options.servers, Alone(), codec, names, options={}, transactional_id=None)
    store = LmdbStore(
        options.state, options.topic, clock=clock, delete_retention_ms=7 * DAY_MS, boot_id="bench"
    )
    timed = Timed(store, steps, load="load", owed_rows="reclaim", put_many="reclaim", open="open")
    restorations = Restorations()
    claim = Claim("bench-restore", options.topic, "")
    began_s, cpu_s = time.perf_counter(), time.process_time()
    running = {
        partition: Restoration(partition, source, outbox, timed, clock, rules(Settings()), claim)
        for partition in range(partitions)
    }
    restored = 0
    memory: list[int] = []
    told_s = began_s
    while running:
        for done, _ in restorations.step(running.values(), clock.monotonic_s()):
            restored += done.restored
            del running[done.partition]
        if time.perf_counter() - told_s >= 1.0:
            told_s = time.perf_counter()
            memory.append(_own_memory_mb())
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    stored, owed = store.count(), store.owed_count().total
    size = sum(file.stat().st_size for file in options.state.rglob("data.mdb"))
    for partition in range(partitions):
        store.close(partition)
    outbox.close()
    source.close()
    result = {
        "records_per_s": round(restored / wall_s),
        "seconds": round(wall_s, 2),
        "records": restored,
        "stored": stored,
        "owed": owed,
        "cpu_us_per_record": round(cpu_s / max(restored, 1) * 1e6, 2),
        "store_seconds": {name: round(wall, 2) for name, (wall, _) in sorted(steps.items())},
        "store_mb": size // (1 << 20),
        "own_memory_mb_over_time": memory[:: max(1, len(memory) // SAMPLES)],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


def _source(options: argparse.Namespace, events: str) -> KafkaSource:
    kafka = Settings().kafka
    return KafkaSource(
        options.servers,
        options.topic,
        events,
        options={},
        group_protocol=kafka.group_protocol,
        session_timeout_ms=kafka.session_timeout_ms,
    )


def _own_memory_mb() -> int:
    """Without the pages of the store's file, which the system takes back when it likes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) // 1024


def _make(servers: str, events: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    if events not in admin.list_topics(timeout=30).topics:
        admin.create_topics([NewTopic(events, partitions, 1)])[events].result(30)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("partitions", type=int)
    parser.add_argument("state", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

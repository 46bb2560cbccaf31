"""The bare loop: consume, decode each event with fastavro, nothing else."""

from __future__ import annotations

import json
import resource
import sys
import time
import uuid
from io import BytesIO
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from fastavro import parse_schema, schemaless_reader

from benchmarks.feed import EVENTS_TOPIC, PARTITIONS
from processor.kafka.avro.framing import SINGLE_OBJECT_SIZE
from processor.kafka.avro.schemas import schema_text

BATCH = 50_000


def main(servers: str, events: int, warm_up: int) -> None:
    """Read so many events and print what those after the first `warm_up` took."""
    schema = parse_schema(_without_logical_types(json.loads(schema_text("delivery_event.avsc"))))
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bare-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(EVENTS_TOPIC, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    seen, decoded = 0, 0
    measured_from, began_s, cpu_s = 0, 0.0, 0.0
    while seen < events:
        messages = consumer.consume(min(BATCH, events - seen), 1.0)
        decoded += sum(_decodes(message.value(), schema) for message in messages)
        seen += len(messages)
        if not measured_from and seen > warm_up:
            measured_from = seen
            began_s, cpu_s = time.perf_counter(), time.process_time()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    consumer.close()
    result = {
        "events_per_s": round((events - measured_from) / wall_s),
        "seconds": round(wall_s, 2),
        "cpu_us_per_event": round(cpu_s / (events - measured_from) * 1e6, 2),
        "decoded": decoded,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


def _decodes(value: bytes | None, schema: Any) -> bool:
    if value is None or len(value) < SINGLE_OBJECT_SIZE:
        return False
    stream = BytesIO(value)
    stream.seek(SINGLE_OBJECT_SIZE)
    try:
        schemaless_reader(stream, schema, None)
    except (EOFError, IndexError, ValueError):
        return False
    return True


def _without_logical_types(schema: Any) -> Any:
    """Plain longs: turning each into a datetime would slow the bare loop, and flatter us."""
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    return schema


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 0)

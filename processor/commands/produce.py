"""`processor produce FILE`: delivery reports as JSON Lines -> Avro events on the topic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from confluent_kafka import Producer

from processor.clock import SystemClock
from processor.commands.compose import EVENT_SCHEMA, connect_registry
from processor.config import load_settings
from processor.errors import ConfigError
from processor.kafka.options import producer_options
from processor.kafka.produce import EventEncoder, produce_lines
from processor.kafka.registry import prefix_for
from processor.logs import set_up_logging
from processor.reports import read_lines
from processor.resources import schema_text


def produce(config: str | None, file: str, *, keep_time: bool) -> int:
    """0; 1 when a line was bad. Each bad line is told with its number, and the rest goes on."""
    settings = load_settings(config)
    set_up_logging(settings.log.level, settings.log.format)
    kafka = settings.kafka
    registry = connect_registry(settings, SystemClock())
    schema = schema_text(EVENT_SCHEMA)
    encoder = EventEncoder(schema, prefix_for(schema, kafka.events_topic, registry))
    # Java's partitioner: a message whose other reports came from there stays in one partition.
    partitioner = {"partitioner": "murmur2_random"}
    producer = Producer(partitioner | producer_options(kafka.bootstrap_servers, kafka.options))
    with _opened(file) as stream:
        summary = produce_lines(
            read_lines(stream), producer, kafka.events_topic, encoder, keep_time=keep_time
        )
    for line, reason in summary.bad:
        print(f"{file}:{line}: {reason}", file=sys.stderr)
    print(f"sent {summary.sent}, bad {len(summary.bad)}")
    return 1 if summary.bad else 0


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error

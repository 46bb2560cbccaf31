"""`processor produce FILE`: delivery reports as JSON Lines -> Avro events on the topic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from confluent_kafka import Producer

from processor.commands.compose import EVENT_SCHEMA, connect_registry, topics
from processor.commands.loading import load
from processor.commands.produce.events import EventEncoder, Outlook, Summary, produce_lines
from processor.commands.produce.reports import read_lines
from processor.config.settings import DAY_S, Settings
from processor.errors import ConfigError
from processor.kafka.avro.registry import prefix_for
from processor.kafka.avro.schemas import schema_text
from processor.kafka.client.error_log import ErrorLog
from processor.kafka.client.options import built, producer_options
from processor.kafka.client.producer import batching
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging


def produce(config: str | None, file: str, *, keep_time: bool) -> int:
    """0; 1 when a line was bad or a report was not sent. Each bad line is told with its number, and
    the rest goes on.
    """
    settings = load(config)
    set_up_logging(settings.log.level, settings.log.format)
    with _opened(file) as stream:
        summary = _send(stream, settings, keep_time=keep_time)
    for line, reason in summary.bad:
        print(f"{file}:{line}: {reason}", file=sys.stderr)
    print(f"sent {summary.sent}, bad {len(summary.bad)}")
    for note in _notes(summary, settings, keep_time=keep_time):
        print(note, file=sys.stderr)
    return 1 if summary.bad or (summary.old and not keep_time) else 0


def _send(stream: BinaryIO, settings: Settings, *, keep_time: bool) -> Summary:
    kafka, clock = settings.kafka, SystemClock()
    events = topics(settings).events()
    registry = connect_registry(settings, clock)
    schema = schema_text(EVENT_SCHEMA)
    register = settings.schema_registry.register
    prefix = prefix_for(schema, kafka.events_topic, registry, register=register)
    encoder = EventEncoder(schema, prefix)
    producer = built(
        Producer,
        # Java's partitioner: a message whose other reports came from there stays in one partition.
        {"partitioner": "murmur2_random", "error_cb": ErrorLog("send events").tell}
        | producer_options(kafka.bootstrap_servers, kafka.options)
        | batching(kafka.options, events.max_bytes),
    )
    outlook = Outlook(
        settings.salesforce.task_id_metadata_key,
        clock.now_ms() - round(settings.state.retention_s * 1000),
    )
    return produce_lines(
        read_lines(stream),
        producer,
        kafka.events_topic,
        encoder,
        keep_time=keep_time,
        outlook=outlook,
    )


def _notes(summary: Summary, settings: Settings, *, keep_time: bool) -> list[str]:
    """What `processor run` will make of the reports, where that is not what one expects."""
    notes = []
    days = settings.state.retention_s / DAY_S
    old = f"{summary.old} reports are older than STATE__RETENTION_S ({days:g} days)"
    if summary.old and keep_time:
        notes.append(
            f"{old}: where newer events of their partition were read before, and their message "
            "is not known, they become dead letters (too_late). Then set STATE__RETENTION_S "
            "longer, start `processor run` again, and send them once more"
        )
    elif summary.old:
        notes.append(
            f"{old}, and were not sent: beside events of today they would become dead letters "
            "(too_late). Send them with --keep-time"
        )
    if summary.without_task:
        key = settings.salesforce.task_id_metadata_key
        notes.append(
            f"{summary.without_task} of the reports that were sent name no Task (metadata {key}): "
            "`processor run` counts them as ignored"
        )
    return notes


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

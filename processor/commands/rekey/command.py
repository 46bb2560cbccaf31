"""`processor rekey RAW_TOPIC`: copy events to the events topic, keyed by message id."""

from __future__ import annotations

import logging
import signal
import threading
import uuid
from random import SystemRandom

from processor.commands.compose import connect_registry, consumer, decoder, topics
from processor.commands.loading import load
from processor.commands.rekey.copier import FirstLook, Rekey, check_target
from processor.config.settings import Kafka, Settings
from processor.core.mark import Identity
from processor.core.report.fields import Oddities
from processor.errors import ConfigError
from processor.kafka.avro.registry import Registry
from processor.kafka.client.producer import TransactionalProducer
from processor.kafka.group.offsets import Offsets
from processor.kafka.group.rivals import Rivals
from processor.kafka.topics.rules import Found
from processor.kafka.topics.watch import Expected
from processor.kafka.transactions import Transactions
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging

log = logging.getLogger(__name__)


def rekey(
    config: str | None, raw_topic: str, *, group: str | None, once: bool, undecodable: bool
) -> int:
    """0, having said how much was copied."""
    settings = load(config)
    set_up_logging(settings.log.level, settings.log.format)
    keyed_topic = settings.kafka.events_topic
    _refuse_ours(settings.kafka, raw_topic, group)
    kafka_topics = topics(settings)
    raw, keyed = kafka_topics.find(raw_topic), kafka_topics.find(keyed_topic)
    check_target(keyed)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    registry = connect_registry(settings, SystemClock())
    first_look = None if undecodable else FirstLook(raw_topic)
    copier = _compose(settings, raw, group, registry, keyed.max_bytes, first_look)
    try:
        copier.open()
        while not stop.is_set() and not (once and copier.drained()):
            copier.turn()
    finally:
        counts = copier.close()
        if registry is not None:
            registry.close()
    print(f"copied {counts.written}, of them {counts.kept_key} undecodable, under their old key")
    return 0


def _refuse_ours(kafka: Kafka, raw_topic: str, group: str | None) -> None:
    """Raises ConfigError for what can only be a slip: it would fill the events topic with other
    things, or move the processor's own offsets.
    """
    if raw_topic == kafka.events_topic:
        raise ConfigError(
            f"{raw_topic} is KAFKA__EVENTS_TOPIC itself: set that to the topic to be written"
        )
    if raw_topic == kafka.status_topic:
        raise ConfigError(
            f"{raw_topic} is KAFKA__STATUS_TOPIC: it holds statuses, and no events to copy; "
            "name the topic of the events as RAW_TOPIC"
        )
    if raw_topic == kafka.dead_letter_topic:
        raise ConfigError(
            f"{raw_topic} is KAFKA__DEAD_LETTER_TOPIC: its events would become dead letters again; "
            "name the topic of the events as RAW_TOPIC (docs/dead-letters.md: how to send dead "
            "letters back)"
        )
    if group == kafka.group_id:
        raise ConfigError(
            f"--group {group} is KAFKA__GROUP_ID, the group of `processor run`: name another, or "
            f"leave it out to read as {group}-rekey"
        )


def _compose(
    settings: Settings,
    raw: Found,
    group: str | None,
    registry: Registry | None,
    max_bytes: int,
    first_look: FirstLook | None,
) -> Rekey:
    kafka = settings.kafka
    name = group or f"{kafka.group_id}-rekey"
    source = consumer(kafka, name, raw.name, Expected(identities={raw.name: raw.identity}))
    transactional_id = f"{name}-{uuid.uuid4()}"
    clock = SystemClock()
    transactions = Transactions(
        source,
        raw.name,
        Offsets(kafka.bootstrap_servers, kafka.options).beginning,
        lambda until_s: TransactionalProducer(
            kafka.bootstrap_servers,
            kafka.options,
            transactional_id,
            topics_max_bytes=(max_bytes,),
            until_s=until_s,
        ),
        Rivals(None, clock.monotonic_s, SystemRandom()),
    )
    return Rekey(
        source,
        decoder(settings, Oddities(), registry),
        transactions,
        kafka.events_topic,
        Identity(name, "", "", raw.identity),
        clock,
        first_look,
    )

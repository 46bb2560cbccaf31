"""Parts of a process, with a value for every setting that a test has no mind of its own about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from processor.core.report.fields import Oddities
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.registry import Registry
from processor.kafka.avro.schemas import schema_text
from processor.kafka.source import KafkaSource
from processor.kafka.topics.topics import Topics
from processor.salesforce.client import Login
from processor.salesforce.writer import WriterSettings
from tests.support.rules import READING

GRACE_S: Final = 30.0  # for an id that the registry does not know yet
RETENTION_MS: Final = 30 * 86_400_000  # of dead letters
WRITING: Final = WriterSettings(window_rows=4_000, linger_s=0.02, requests_in_flight=2)


def framed_decoder(
    registry: Registry | None = None, oddities: Oddities | None = None
) -> AvroDecoder:
    """Of delivery events."""
    schemas = [schema_text("delivery_event.avsc")]
    return AvroDecoder(schemas, READING, oddities or Oddities(), registry, plain=False)


def source(bootstrap_servers: str, group_id: str, topic: str, **changes: Any) -> KafkaSource:
    """A member of the group."""
    protocol = changes.get("group_protocol", "classic")
    session_ms = 30_000 if protocol == "classic" else None
    settings = {"options": {}, "group_protocol": protocol, "session_timeout_ms": session_ms}
    return KafkaSource(bootstrap_servers, group_id, topic, **settings | changes)


def topics(bootstrap_servers: str, *names: str, **changes: Any) -> Topics:
    """Events, status, dead letters."""
    settings: dict[str, Any] = {
        "options": {},
        "events_partitions": None,
        "dead_letter_retention_s": RETENTION_MS / 1000,
    }
    return Topics(bootstrap_servers, *names, **settings | changes)


def login(**changes: Any) -> Login:
    """With a secret, unless there is a key."""
    settings: dict[str, Any] = {
        "domain": "acme.my",
        "consumer_key": "key",
        "consumer_secret": None if "private_key" in changes else "hush",
        "username": None,
        "private_key": None,
        "endpoint_url": None,
        "api_version": "66.0",
        "request_timeout_s": (5.0, 20.0),
        "expected_org_id": None,
    }
    return Login(**settings | changes)


def writing(**changes: Any) -> WriterSettings:
    """`WRITING`, with these changes."""
    return replace(WRITING, **changes)

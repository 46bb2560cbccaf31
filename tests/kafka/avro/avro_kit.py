"""Records and schemas for tests of decoding."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_writer

from processor.kafka.avro.schemas import schema_text

EVENT_SCHEMA = schema_text("delivery_event.avsc")
STATUS_SCHEMA = schema_text("delivery_status.avsc")
NOW = 1_700_000_000_000


class Record(NamedTuple):
    """A record as it lies in Kafka."""

    payload: bytes | None
    time: int = NOW
    own: list[tuple[str, bytes | None]] | None = None

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return 0

    def offset(self) -> int | None:
        return 0

    def key(self) -> bytes | None:
        return b"a key is no substitute for a message id"

    def value(self) -> bytes | None:
        return self.payload

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.own

    def timestamp(self) -> tuple[int, int]:
        return (1, self.time)


def report(**changes: Any) -> dict[str, Any]:
    """A value of delivery_event.avsc; `...` takes a field away."""
    fields = {
        "delivery_report_id": "r",
        "message_id": "m",
        "status": "delivered",
        "status_code": 220,
        "date_received": NOW - 10,
        "submitted_date": NOW - 20,
        "source_number": "+61491570156",
        "original_text": "Hello",
        "vendor_account_id": {"vendor_id": "MessageMedia", "account_id": "a"},
        "metadata": {"salesforce_task_id": "00T1"},
        "delay": 0,
        "billing_units": 1,
        "callback_url": "",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def schema(*fields: tuple[str, Any], name: str = "Report") -> str:
    """The text of a record schema with these fields."""
    named = [{"name": field, "type": kind} for field, kind in fields]
    return json.dumps({"type": "record", "name": name, "fields": named})


def write(schema_json: str, value: object, prefix: bytes = b"") -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(json.loads(schema_json)), value)
    return prefix + stream.getvalue()

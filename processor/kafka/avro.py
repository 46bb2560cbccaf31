"""Raw records of the events topic -> events.

What a schema needs is prepared once and found by the bytes that stand before the record. Values
are read by the schema's straight reader where that can, and by fastavro where it can't.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from fastavro import schemaless_reader

from processor.core.events import DeliveryEvent
from processor.core.report import DecodeStats, Normalise, ReportRules, compile_normaliser
from processor.errors import Rejected
from processor.kafka.dead_letters import as_first_seen
from processor.kafka.framing import (
    CONFLUENT_SIZE,
    SINGLE_OBJECT_SIZE,
    confluent_id,
    prefix_of,
    single_object_prefix,
)
from processor.kafka.registry import RegisteredSchema, Registry
from processor.kafka.straight import NOT_STRAIGHT, Straight, compile_straight
from processor.kafka.writer_schema import BROKEN, parse_writer
from processor.ports import RawRecord

MAX_BAD_SCHEMAS: Final = 1_000  # remembered, so as not to parse them for every record

_Reader = tuple[Straight, Any, Normalise]


class AvroDecoder:
    """Implements `ports.Decoder`.

    `schemas` are known without a registry: values in single-object encoding may be written with
    any of them. With a `registry`, Confluent framing is read as well. `plain`: values have no
    framing at all, and the first of `schemas` wrote them.

    Reasons: empty_value, bad_magic, unknown_schema, bad_schema, undecodable, trailing_bytes,
    no_message_id, bad_message_id, no_code, bad_code, no_time.
    """

    def __init__(
        self,
        schemas: Sequence[str],
        rules: ReportRules,
        stats: DecodeStats,
        registry: Registry | None = None,
        *,
        plain: bool = False,
    ) -> None:
        self.stats = stats
        self._rules = rules
        self._registry = registry
        self._bad: dict[bytes, Rejected] = {}
        self._readers: dict[bytes, _Reader] = {}
        if plain:
            self._readers[b""] = self._compile(RegisteredSchema(schemas[0]))
        else:
            for text in schemas:
                prefix = single_object_prefix(text)
                self._readers[prefix] = self._compile(RegisteredSchema(text))
        self._size = 0 if plain else CONFLUENT_SIZE if registry else SINGLE_OBJECT_SIZE

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejected]:
        """One item per record, in order. Raises Unavailable when the registry does not answer."""
        events: list[DeliveryEvent | Rejected] = []
        append = events.append
        readers = self._readers
        size = self._size
        for record in records:
            try:
                value = record.value()
                if not value:
                    raise Rejected("empty_value")
                reader = readers.get(value[:size])
                if reader is None:
                    reader = self._find(value)
                    size = self._size
                straight, schema, normalise = reader
                report: Any
                try:
                    report, end = straight(value, size)
                except NOT_STRAIGHT:
                    report, end = None, -1
                if end != len(value):
                    report = _read(value, size, schema)
                event = normalise(report, record.timestamp()[1])
                if event[2] == event[3]:  # ordered by its record, perhaps of a letter sent back
                    event = as_first_seen(event, record)
                append(event)
            except Rejected as rejected:
                # A new one: what was raised holds this frame, by its traceback and its context,
                # hence all of the batch, in a cycle that only the garbage collector would undo.
                append(Rejected(rejected.reason, rejected.detail))
        return events

    def _find(self, value: bytes) -> _Reader:
        """The reader for a value whose prefix has another size than the last one's, or is new.
        Leaves the size of its prefix in `_size`.
        """
        prefix = prefix_of(value)
        reader = self._readers.get(prefix)
        if reader is None:
            reader = self._readers[prefix] = self._fetch(prefix)
        self._size = len(prefix)
        return reader

    def _fetch(self, prefix: bytes) -> _Reader:
        known = self._bad.get(prefix)
        if known is not None:
            raise Rejected(known.reason, known.detail)
        if len(prefix) == SINGLE_OBJECT_SIZE:
            raise Rejected("unknown_schema", f"fingerprint {prefix[2:].hex()} is of none of ours")
        if self._registry is None:
            raise Rejected("unknown_schema", "Confluent framing, and no Schema Registry is set")
        try:
            return self._compile(self._registry.schema(confluent_id(prefix)))
        except Rejected as rejected:
            if rejected.reason == "bad_schema" and len(self._bad) < MAX_BAD_SCHEMAS:
                self._bad[prefix] = Rejected(rejected.reason, rejected.detail)
            raise

    def _compile(self, schema: RegisteredSchema) -> _Reader:
        used = self._rules.fields()
        parsed, present, units = parse_writer(schema.text, used, schema.references)
        straight = compile_straight(parsed, used) or _never
        return straight, parsed, compile_normaliser(self._rules, self.stats, present, units)


def _never(_value: bytes, _begin: int) -> tuple[dict[str, Any], int]:
    """The straight reader of a schema that has none."""
    raise ValueError


def _read(value: bytes, begin: int, schema: Any) -> Any:
    """By fastavro, which has the last word. Raises Rejected."""
    stream = BytesIO(value)
    stream.seek(begin)
    try:
        report = schemaless_reader(stream, schema, None)
    except BROKEN as error:
        raise Rejected("undecodable", type(error).__name__) from None
    if stream.tell() != len(value):
        raise Rejected("trailing_bytes", f"{len(value) - stream.tell()} bytes")
    return report

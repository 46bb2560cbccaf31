"""Raw records of the events topic -> events.

What a schema needs is prepared once and found by the bytes that name it. Values
are read by the schema's fast reader where that can, and by fastavro where it can't.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

from fastavro import schemaless_reader

from processor.core.events import DeliveryEvent
from processor.core.report.fields import Oddities, ReportRules, event_of
from processor.errors import Rejected, Rejection
from processor.kafka.avro.event_reader import EventReader, event_reader
from processor.kafka.avro.framing import (
    CONFLUENT_SIZE,
    SINGLE_OBJECT_SIZE,
    SchemaId,
    confluent_id,
    header_id,
    prefix_of,
    single_object_prefix,
)
from processor.kafka.avro.registry import RegisteredSchema, Registry
from processor.kafka.avro.value_reader import PAYS
from processor.kafka.avro.writer_schema import BROKEN, Source, WriterSchema, read_value
from processor.kafka.dead_letters import as_first_seen
from processor.kafka.headers import headers_of
from processor.ports import RawRecord

MAX_BAD_SCHEMAS: Final = 1_000  # remembered, so as not to parse them for every record

_Reader = tuple[EventReader | None, WriterSchema]
"""The reader for values as nearly all are, and the schema for fastavro."""


class _Readers:
    """The readers of values, by what names their schema; those of a union by its branch as well.

    Each branch has a reader of its own: two records may count their times in different units.
    """

    def __init__(self, rules: ReportRules) -> None:
        self.ready: dict[bytes, _Reader] = {}
        self._rules = rules
        self._used = rules.fields()
        self._unions: dict[bytes, Source] = {}
        self._bad: dict[bytes, Rejection] = {}

    def find(
        self, name: bytes, value: bytes, begin: int, registered: Callable[[], RegisteredSchema]
    ) -> tuple[_Reader, int]:
        """The reader for a value, and where its record begins. `begin`: after what names it.

        `registered` gives the schema, where it has to be asked for. Raises Rejected, Unavailable.
        """
        reader = self.ready.get(name)
        if reader is not None:
            return reader, begin
        known = self._bad.get(name)
        if known is not None:
            raise Rejected(known.reason, known.detail)
        try:
            union = self._unions.get(name) or self.add(name, registered())
            if union is None:
                return self.ready[name], begin
            index, end = _branch(value, begin, union)
            name += value[begin:end]
            reader = self.ready.get(name)
            if reader is None:
                reader = self.ready[name] = self._compile(union.cut(self._used, index))
        except Rejected as rejected:
            if rejected.reason == "bad_schema" and len(self._bad) < MAX_BAD_SCHEMAS:
                self._bad[name] = rejected.rejection
            raise
        return reader, end

    def add(self, name: bytes, schema: RegisteredSchema) -> Source | None:
        """Make the reader, or keep the union that was found. Raises Rejected (`bad_schema`)."""
        source = Source(schema.text, schema.references)
        if source.branches is None:
            self.ready[name] = self._compile(source.cut(self._used))
            return None
        self._unions[name] = source
        return source

    def _compile(self, writer: WriterSchema) -> _Reader:
        reader = event_reader(writer.parsed, self._rules, writer.units) if PAYS else None
        return reader, writer


class AvroDecoder:
    """Implements `ports.Decoder`.

    `schemas` are known without a registry: values in single-object encoding may be written with
    any of them. With a `registry`, Confluent framing and schema ids in headers are read as well.
    `plain`: values have no framing at all, and the first of `schemas` wrote them.

    Reasons: empty_value, bad_magic, unknown_schema, bad_schema, undecodable, trailing_bytes,
    no_message_id, bad_message_id, no_code, bad_code, bad_task_id, bad_account_id, no_time.
    """

    def __init__(
        self,
        schemas: Sequence[str],
        rules: ReportRules,
        stats: Oddities,
        registry: Registry | None = None,
        *,
        plain: bool,
    ) -> None:
        self.stats = stats
        self._rules = rules
        self._registry = registry
        self._plain = plain
        self._headed = False  # once an id was in a header: then every record's are looked at first
        self._by_prefix = _Readers(rules)
        self._by_header = _Readers(rules)
        for text in schemas[:1] if plain else schemas:
            prefix = b"" if plain else single_object_prefix(text)
            self._by_prefix.add(prefix, RegisteredSchema(text))
        self._size = 0 if plain else CONFLUENT_SIZE if registry else SINGLE_OBJECT_SIZE

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        """One item per record, in order. Raises Unavailable when the registry does not answer."""
        events: list[DeliveryEvent | Rejection] = []
        append = events.append
        readers = self._by_prefix.ready
        size = self._size
        for record in records:
            try:
                value = record.value()
                if not value:
                    raise Rejected("empty_value")
                reader = None if self._headed else readers.get(value[:size])
                if reader is None:
                    reader, size = self._find(record, value)
                event_reader, schema = reader
                record_time = record.timestamp()[1]
                event = None
                if event_reader is not None:
                    event = event_reader.read(value, size, record_time)
                if event is None:
                    report = _read(value, size, schema)
                    event = event_of(report, record_time, self._rules, self.stats, schema.units)
                if event.event_time == event.record_time:
                    # Ordered by its record, perhaps that of a letter sent back.
                    event = as_first_seen(event, record)
                append(event)
            except Rejected as rejected:
                append(rejected.rejection)
        self._size = size
        return events

    def take_oddities(self) -> Oddities:
        return self.stats.take()

    def _find(self, record: RawRecord, value: bytes) -> tuple[_Reader, int]:
        """The reader for a value whose schema is named otherwise than the last one's, or is new;
        and where its record begins.
        """
        if self._plain:
            return self._by_prefix.find(b"", value, 0, _not_asked_for)
        named = header_id(headers_of(record))
        if named is not None:
            self._headed = self._registry is not None
            name, schema_id = named
            return self._by_header.find(name, value, 0, lambda: self._registered(schema_id))
        prefix = prefix_of(value)
        return self._by_prefix.find(prefix, value, len(prefix), lambda: self._of_prefix(prefix))

    def _of_prefix(self, prefix: bytes) -> RegisteredSchema:
        if len(prefix) == SINGLE_OBJECT_SIZE:
            raise Rejected("unknown_schema", f"fingerprint {prefix[2:].hex()} is of none of ours")
        return self._registered(confluent_id(prefix))

    def _registered(self, schema_id: SchemaId) -> RegisteredSchema:
        if self._registry is None:
            raise Rejected("unknown_schema", "a schema's id, and no Schema Registry is set")
        return self._registry.schema(schema_id)


def _not_asked_for() -> RegisteredSchema:
    raise AssertionError("the schema of plain values is known from the start")


def _branch(value: bytes, begin: int, union: Source) -> tuple[int, int]:
    """Which branch of a union a value is of, and where it begins. Raises Rejected."""
    stream = BytesIO(value)
    stream.seek(begin)
    try:
        index: Any = schemaless_reader(stream, "long", None)
    except BROKEN as error:
        raise Rejected("undecodable", type(error).__name__) from None
    if not 0 <= index < (union.branches or 0):
        raise Rejected("undecodable", "a branch that its union does not have")
    return index, stream.tell()


def _read(value: bytes, begin: int, schema: WriterSchema) -> Any:
    """By fastavro, which has the last word. Raises Rejected."""
    stream = BytesIO(value)
    stream.seek(begin)
    try:
        report = read_value(stream, schema)
    except BROKEN as error:
        raise Rejected("undecodable", type(error).__name__) from None
    if stream.tell() != len(value):
        raise Rejected("trailing_bytes", f"{len(value) - stream.tell()} bytes")
    return report

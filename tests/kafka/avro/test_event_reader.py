"""The event reader is a shortcut: whatever it accepts, fastavro and the rules read the same."""

from __future__ import annotations

import json
from io import BytesIO
from random import Random
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import DeliveryEvent
from processor.core.report.fields import (
    CODE_FIELDS,
    METADATA,
    VENDOR_ACCOUNT,
    Oddities,
    event_of,
)
from processor.errors import Rejected
from processor.kafka.avro.event_reader import EventReader, event_reader
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.steps import MAX_DEPTH
from processor.kafka.avro.writer_schema import BROKEN, parse_writer
from tests.support.rules import READING

NOW = 1_700_000_000_000
FUZZED = 100_000  # values of our own schema
TIMES = READING.time_fields
UNITS = {TIMES[0]: 1_000}

LEAVES: st.SearchStrategy[tuple[Any, Any]] = st.sampled_from([
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("string", st.text(max_size=200)),
    ("bytes", st.binary(max_size=200)),
    ({"type": "enum", "symbols": ["A", "B", "C"]}, st.sampled_from("ABC")),
])  # fmt: skip
SKIPPED: st.SearchStrategy[tuple[Any, Any]] = st.sampled_from([
    ("float", st.floats(width=32, allow_nan=False)),
    ("double", st.floats(allow_nan=False)),
    ({"type": "fixed", "size": 5}, st.binary(min_size=5, max_size=5)),
])  # fmt: skip


def nested(inner: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """(type, values of it): lists, maps, records and nullable ones of simpler types."""
    return st.one_of(
        inner.map(lambda t: ({"type": "array", "items": t[0]}, st.lists(t[1], max_size=3))),
        inner.map(
            lambda t: (
                {"type": "map", "values": t[0]},
                st.dictionaries(st.text(max_size=3), t[1], max_size=3),
            )
        ),
        inner.filter(lambda t: t[0] != "null" and not isinstance(t[0], list)).map(
            lambda t: (["null", t[0]], st.none() | t[1])
        ),
        st.tuples(inner, inner).map(
            lambda ts: (
                {
                    "type": "record",
                    "fields": [{"name": f"g{i}", "type": t[0]} for i, t in enumerate(ts)],
                },
                st.fixed_dictionaries({f"g{i}": t[1] for i, t in enumerate(ts)}),
            )
        ),
    )


UNWANTED = st.recursive(LEAVES | SKIPPED, nested, max_leaves=4)

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=70) | st.sampled_from(
    ["m", " m ", "", "x" * 63, "x" * 64, "x" * 255, "x" * 256, "é" * 127, "é" * 128]
)
CODES_ = st.sampled_from([*CODES, 99, 500, -1, 0, 2**31 - 1])
STAMPS = st.sampled_from([0, -1, 946_684_799_999, 946_684_800_000, NOW - 1, NOW, NOW + 1]) | (
    st.integers(-(2**63), 2**63 - 1)
)


def optional(kinds: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    """The same, or nullable in either order."""
    kind, values = kinds
    return st.sampled_from([
        (kind, values),
        (["null", kind], st.none() | values),
        ([kind, "null"], st.none() | values),
    ])  # fmt: skip


def mapped(values: Any) -> tuple[Any, Any]:
    keys = st.sampled_from([READING.task_id_key, "account_id", "other", ""]) | IDS
    return {"type": "map", "values": values[0]}, st.dictionaries(keys, values[1], max_size=3)


TEXT = ("string", IDS)
FIELD_KINDS: dict[str, list[st.SearchStrategy[tuple[Any, Any]]]] = {
    "message_id": [optional(TEXT)],
    METADATA: [
        optional(TEXT).map(mapped).flatmap(optional),
        st.just(({"type": "array", "items": "string"}, st.lists(IDS, max_size=2))),
        st.just(TEXT),
    ],
    VENDOR_ACCOUNT: [
        optional(TEXT).map(
            lambda kind: (
                {"type": "record", "fields": [{"name": "account_id", "type": kind[0]}]},
                st.fixed_dictionaries({"account_id": kind[1]}),
            )
        ).flatmap(optional),
        optional(TEXT).map(mapped),
        st.just(TEXT),
    ],
    **{
        name: [
            optional(("int", CODES_)),
            optional(("string", CODES_.map(str) | IDS)),
            st.just((["null", "int", "string"], st.none() | CODES_ | CODES_.map(str))),
            st.just(("double", st.floats(allow_nan=False))),
        ]
        for name in CODE_FIELDS
    },
    **{
        name: [
            optional(("long", STAMPS)),
            optional(("long", STAMPS.map(lambda at: max(-(2**63), min(at * 1000, 2**63 - 1))))),
            st.just(("string", st.just("2023-11-14T22:13:20Z") | IDS)),
        ]
        for name in TIMES
    },
}  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """A parsed schema of reports, some fields missing and some nobody's, and a value of it."""
    kinds = {
        name: draw(st.one_of(ways)) for name, ways in FIELD_KINDS.items() if draw(st.integers(0, 9))
    }
    kinds |= {f"f{index}": draw(UNWANTED) for index in range(draw(st.integers(0, 2)))}
    order = draw(st.permutations(sorted(kinds)))
    fields = [{"name": name, "type": kinds[name][0]} for name in order]
    schema = parse_schema(named({"type": "record", "name": "R", "fields": fields}))
    return schema, {name: draw(kinds[name][1]) for name in order}


def named(schema: Any, count: list[int] | None = None) -> Any:
    """A fresh name for each record, enum and fixed."""
    count = count if count is not None else [0]
    if isinstance(schema, list):
        return [named(item, count) for item in schema]
    if not isinstance(schema, dict):
        return schema
    again = {
        key: named(value, count) if key != "symbols" else value for key, value in schema.items()
    }
    if again.get("type") in ("record", "enum", "fixed"):
        count[0] += 1
        again["name"] = f"N{count[0]}"
    return again


def encoded(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, schema, value)
    return stream.getvalue()


def judged(schema: Any, raw: bytes, record_time: int) -> DeliveryEvent | None:
    """What fastavro and the rules make of it; None: a dead letter, or not without counting."""
    stream = BytesIO(raw)
    oddities = Oddities()
    try:
        event = event_of(
            schemaless_reader(stream, schema, None), record_time, READING, oddities, UNITS
        )
    except (*BROKEN, Rejected):
        return None
    return event if stream.tell() == len(raw) and oddities == Oddities() else None


def check(reader: EventReader | None, schema: Any, raw: bytes, record_time: int = NOW) -> bool:
    """Whether the shortcut is taken; then the event must be the same."""
    event = reader.read(raw, 0, record_time) if reader is not None else None
    assert event is None or event == judged(schema, raw, record_time), raw.hex()
    return event is not None


def reader_of(schema: Any) -> EventReader | None:
    return event_reader(schema, READING, UNITS)


RECORD_TIMES = st.sampled_from([NOW, NOW, 2**62, 0, -1])


@settings(max_examples=500)
@given(records(), RECORD_TIMES)
def test_what_fastavro_writes_is_read_the_same(
    record: tuple[Any, dict[str, Any]], record_time: int
) -> None:
    schema, value = record
    check(reader_of(schema), schema, encoded(schema, value), record_time)


@settings(max_examples=500)
@given(records(), RECORD_TIMES, st.data())
def test_what_is_accepted_of_broken_bytes_is_what_fastavro_reads(
    record: tuple[Any, dict[str, Any]], record_time: int, data: st.DataObject
) -> None:
    schema, value = record
    raw = bytearray(encoded(schema, value))
    for _ in range(data.draw(st.integers(1, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    reader = reader_of(schema)
    check(reader, schema, bytes(raw), record_time)
    check(reader, schema, bytes(raw[:cut]), record_time)


OWN = parse_writer(schema_text("delivery_event.avsc"), READING.fields())
WRITER = parse_writer(schema_text("delivery_event.avsc"), None).parsed
REPORT = {
    "delivery_report_id": "d",
    "message_id": "m" * 200,
    "status": "delivered",
    "status_code": 220,
    "date_received": (NOW - 9) * 1_000,
    "submitted_date": None,
    "source_number": "",
    "original_text": "x" * 300,
    "vendor_account_id": {"vendor_id": "v", "account_id": "a"},
    "metadata": {"salesforce_task_id": "t", "more": "é", "": ""},
    "delay": -1,
    "billing_units": 0,
    "callback_url": "",
}


@given(st.binary(max_size=400))
def test_any_bytes_as_our_event(raw: bytes) -> None:
    check(reader_of(OWN.parsed), OWN.parsed, raw)


def test_our_own_events_take_the_shortcut() -> None:
    assert check(reader_of(OWN.parsed), OWN.parsed, encoded(WRITER, REPORT))
    long = encoded(WRITER, REPORT | {"original_text": "x" * 70_000, "message_id": "é"})
    assert check(reader_of(OWN.parsed), OWN.parsed, long)


def test_a_hundred_thousand_damaged_events() -> None:
    """One to three bytes of a value changed, put in or taken away."""
    dice = Random(1)
    reader = reader_of(OWN.parsed)
    plain = encoded(WRITER, REPORT)
    taken = 0
    for _ in range(FUZZED):
        raw = bytearray(plain)
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(raw))
            raw[place : place + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 2))
        taken += check(reader, OWN.parsed, bytes(raw))
    assert FUZZED // 10 < taken < FUZZED * 9 // 10


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    schema = parse_schema(
        named({
            "type": "record",
            "name": "R",
            "fields": [
                {"name": "message_id", "type": "string"},
                {"name": "status_code", "type": "int"},
                {"name": "submitted_date", "type": "long"},
                {"name": "metadata", "type": {"type": "map", "values": ["null", "string"]}},
            ],
        })
    )  # fmt: skip
    start = encoded(
        schema,
        {"message_id": "m", "status_code": 220, "submitted_date": NOW, "metadata": {}},
    )[:-1]
    key = b"\x24salesforce_task_id"
    reader = reader_of(schema)
    assert reader is not None
    for entries, task_id in (
        ((b"\x02\x02a", b"\x02\x02b"), "b"),
        ((b"\x02\x02a", b"\x00"), None),
        ((b"\x00", b"\x02\x02a"), "a"),
    ):
        raw = start + b"\x04" + b"".join(key + entry for entry in entries) + b"\x00"
        assert check(reader, schema, raw)
        event = reader.read(raw, 0, NOW)
        assert event is not None
        assert event.task_id == task_id


def deep(depth: int) -> Any:
    return {"type": "array", "items": deep(depth - 1)} if depth else "int"


@pytest.mark.parametrize(
    "schema",
    [
        "string",
        {"type": "map", "values": "string"},
        {"name": "status_code", "type": "double"},
        {"name": "message_id", "type": "bytes"},
        {"name": "metadata", "type": {"type": "array", "items": "string"}},
        {"name": "vendor_account_id", "type": {"type": "map", "values": "string"}},
        {"name": "date_received", "type": "string"},
        {"name": "f0", "type": ["null", "R"]},
        {"name": "f0", "type": deep(MAX_DEPTH + 1)},
    ],
    ids=[
        "text", "map", "double code", "id of bytes", "list of metadata", "map of account",
        "time in text", "recursive", "deep",
    ],
)  # fmt: skip
def test_what_it_is_not_for_is_left_to_fastavro(schema: Any) -> None:
    if isinstance(schema, dict) and "name" in schema:
        schema = {"type": "record", "name": "R", "fields": [schema]}
    parsed = parse_schema(json.loads(json.dumps(schema)))
    assert reader_of(parsed) is None

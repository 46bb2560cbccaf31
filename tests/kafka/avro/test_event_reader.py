"""The fast reader is a shortcut: whatever it accepts, fastavro reads the same."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from processor.kafka.avro.event_reader import (
    MAX_BRANCHES,
    NEEDS_FASTAVRO,
    FastReader,
    compile_reader,
)
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.writer_schema import BROKEN, parse_writer
from tests.support.rules import READING

WANTED = ("f0", "f1")

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


TYPES = st.recursive(LEAVES, nested, max_leaves=4)
UNWANTED = st.recursive(LEAVES | SKIPPED, nested, max_leaves=4)


@st.composite
def records(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """A parsed record schema of four fields, the first two wanted, and a value of it."""
    kinds = [draw(TYPES), draw(TYPES), draw(UNWANTED), draw(UNWANTED)]
    order = draw(st.permutations(range(4)))
    fields = [{"name": f"f{i}", "type": kinds[i][0]} for i in order]
    schema = parse_schema(named({"type": "record", "name": "R", "fields": fields}))
    return schema, {f"f{i}": draw(kinds[i][1]) for i in order}


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


def straight(schema: Any, wanted: Any = WANTED) -> FastReader:
    compiled = compile_reader(schema, wanted)
    assert compiled is not None
    return compiled


def encoded(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, schema, value)
    return stream.getvalue()


def check(read: FastReader, schema: Any, raw: bytes) -> bool:
    """Whether the fast reader accepts it; then fastavro must, with the same values."""
    try:
        report, end = read(raw, 0)
    except NEEDS_FASTAVRO:
        return False
    if end != len(raw):
        return False
    stream = BytesIO(raw)
    try:
        judged: Any = schemaless_reader(stream, schema, None)
    except BROKEN as error:
        raise AssertionError(f"{raw.hex()} was accepted, and is {error!r}") from error
    assert stream.tell() == end
    assert report == {name: judged[name] for name in report}
    return True


@given(records())
def test_what_fastavro_writes_is_read_the_same(record: tuple[Any, dict[str, Any]]) -> None:
    schema, value = record
    check(straight(schema), schema, encoded(schema, value))


@given(records(), st.data())
def test_what_is_accepted_of_broken_bytes_is_what_fastavro_reads(
    record: tuple[Any, dict[str, Any]], data: st.DataObject
) -> None:
    schema, value = record
    raw = bytearray(encoded(schema, value))
    for _ in range(data.draw(st.integers(1, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    read = straight(schema)
    check(read, schema, bytes(raw))
    check(read, schema, bytes(raw[:cut]))


@given(st.binary(max_size=400))
def test_any_bytes_as_our_event(raw: bytes) -> None:
    rules = READING
    parsed = parse_writer(schema_text("delivery_event.avsc"), rules.fields()).parsed
    check(straight(parsed, rules.fields()), parsed, raw)


def test_our_own_events_take_the_shortcut() -> None:
    rules = READING
    writer = parse_writer(schema_text("delivery_event.avsc"), None).parsed
    parsed = parse_writer(schema_text("delivery_event.avsc"), rules.fields()).parsed
    value = {
        "delivery_report_id": "d",
        "message_id": "m" * 200,
        "status": "delivered",
        "status_code": 220,
        "date_received": 1_700_000_000_000,
        "submitted_date": None,
        "source_number": "",
        "original_text": "x" * 70_000,
        "vendor_account_id": {"vendor_id": "v", "account_id": "a"},
        "metadata": {"salesforce_task_id": "t", "more": ""},
        "delay": -1,
        "billing_units": 0,
        "callback_url": "",
    }
    assert check(straight(parsed, rules.fields()), parsed, encoded(writer, value))


WIDE = [{"type": "fixed", "name": f"F{n}", "size": 1} for n in range(MAX_BRANCHES + 1)]


@pytest.mark.parametrize(
    "schema",
    [
        "string",
        {"type": "map", "values": "string"},
        {"name": "f0", "type": "double"},
        {"name": "f0", "type": ["null", "R"]},
        {"name": "f0", "type": WIDE},
    ],
    ids=["text", "map", "wanted double", "recursive", "wide union"],
)  # fmt: skip
def test_what_it_is_not_for_is_left_to_fastavro(schema: Any) -> None:
    if isinstance(schema, dict) and "name" in schema:
        schema = {"type": "record", "name": "R", "fields": [schema]}
    parsed = parse_schema(json.loads(json.dumps(schema)))
    assert compile_reader(parsed, WANTED) is None

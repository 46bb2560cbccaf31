"""What a producer may have registered: schemas made of references, and schemas that do harm.

Whatever it is, its events are read, or become dead letters; the process goes on.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.event_reader import event_reader
from processor.kafka.avro.framing import SchemaId, confluent_prefix, single_object_prefix
from processor.kafka.avro.registry import RegisteredSchema
from processor.kafka.avro.writer_schema import Source
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, NOW, Record, report, schema, write
from tests.support.parts import framed_decoder
from tests.support.rules import READING

GOOD = write(EVENT_SCHEMA, report(), single_object_prefix(EVENT_SCHEMA))
EVENT = DeliveryEvent("m", 220, NOW - 10, NOW, "00T1", "a")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
BASE = {"message_id": "string", "status_code": "int", "date_received": MILLIS}
VALUE = {"message_id": "m", "status_code": 220, "date_received": NOW - 10}
PLAIN = DeliveryEvent("m", 220, NOW - 10, NOW, None, None)

# -- schemas made of references ------------------------------------------------------------------

RECORDS: dict[str, Any] = {
    "Dlr": {"type": "record", "name": "Dlr", "namespace": "acme", "fields": [
        {"name": "message_id", "type": "string"},
        {"name": "status_code", "type": "int"},
        {"name": "date_received", "type": MICROS},
        {"name": "vendor_account_id", "type": ["null", "Acc"]}]},
    "Acc": {"type": "record", "name": "acme.Acc", "fields": [
        {"name": "account_id", "type": "string"}]},
    "Reply": {"type": "record", "name": "acme.Reply", "fields": [
        {"name": "message_id", "type": "string"},
        {"name": "error_code", "type": "string"},
        {"name": "date_received", "type": MILLIS}]},
}  # fmt: skip
REFERENCES = tuple(json.dumps(RECORDS[name]) for name in ("Acc", "Dlr", "Reply"))
WHOLE = RECORDS["Dlr"] | {"fields": [
    *RECORDS["Dlr"]["fields"][:-1],
    {"name": "vendor_account_id", "type": ["null", RECORDS["Acc"]]}]}  # fmt: skip
DLR = {"message_id": "m", "status_code": 220, "date_received": (NOW - 10) * 1000 + 5,
       "vendor_account_id": {"account_id": "a"}}  # fmt: skip
REPLY = {"message_id": "m", "error_code": "402", "date_received": NOW - 20}
DLR_EVENT = DeliveryEvent("m", 220, NOW - 10, NOW, None, "a")
REPLY_EVENT = DeliveryEvent("m", 402, NOW - 20, NOW, None, None)


class Registered:
    """A registry that has one schema, 7, which refers to others."""

    def __init__(self, text: str, references: tuple[str, ...] = ()) -> None:
        self._schema = RegisteredSchema(text, references)

    def schema(self, _schema_id: SchemaId) -> RegisteredSchema:
        return self._schema


def registered(text: str, *references: str) -> AvroDecoder:
    registry: Any = Registered(text, references)
    return framed_decoder(registry)


def dlr(branch: bytes = b"") -> Record:
    return Record(confluent_prefix(7) + branch + write(json.dumps(WHOLE), DLR))


@pytest.mark.parametrize(
    "text", ['"acme.Dlr"', '{"type": "acme.Dlr"}', '{"type": {"type": "acme.Dlr", "doc": "x"}}']
)
def test_a_schema_may_only_name_another(text: str) -> None:
    assert registered(text, *REFERENCES).decode([dlr(), dlr()]) == [DLR_EVENT] * 2


@pytest.mark.parametrize("in_reverse", [False, True])
def test_each_branch_of_a_union_of_names_is_read_in_its_own_units(in_reverse: bool) -> None:
    names = ["acme.Dlr", "acme.Reply"]
    first, second = (b"\x02", b"\x00") if in_reverse else (b"\x00", b"\x02")
    decoder = registered(json.dumps(names[::-1] if in_reverse else names), *REFERENCES)
    reply = Record(confluent_prefix(7) + second + write(json.dumps(RECORDS["Reply"]), REPLY))
    single = Record(GOOD)
    found = decoder.decode([dlr(first), reply, single, reply, dlr(first)])
    assert found == [DLR_EVENT, REPLY_EVENT, EVENT, REPLY_EVENT, DLR_EVENT]


def test_a_union_with_null_is_read_and_its_null_is_no_report() -> None:
    decoder = registered('["null", "acme.Dlr"]', *REFERENCES)
    nothing = [
        Record(confluent_prefix(7) + tail) for tail in (b"\0", b"\x04", b"\x01", b"\xff", b"")
    ]
    found = decoder.decode([dlr(b"\x02"), *nothing, dlr(b"\x02")])
    assert [getattr(item, "reason", None) for item in found] == [
        None, *["undecodable"] * 5, None,
    ]  # fmt: skip


def test_a_name_is_looked_for_in_its_own_namespace_and_then_in_none() -> None:
    plain = json.dumps({**RECORDS["Acc"], "name": "Acc"})
    text = json.dumps(RECORDS["Dlr"])
    assert registered(text, plain).decode([dlr()]) == [DLR_EVENT]


def test_a_name_of_nothing_is_a_bad_schema() -> None:
    for text in ('"acme.Gone"', '["null", "acme.Gone"]', '{"type": "acme.Gone"}'):
        for branch in (b"", b"\x02"):
            [item] = registered(text, *REFERENCES).decode([dlr(branch)])
            assert isinstance(item, Rejection)
            assert item.reason == "bad_schema"


def test_the_shortcuts_are_taken_for_branches_too() -> None:
    source = Source('["null", "acme.Dlr"]', REFERENCES)
    fields = READING.fields()
    cut = source.cut(fields, 1)
    assert event_reader(cut.parsed, READING, cut.units) is not None
    assert cut.units == {"date_received": 1000}


# -- schemas that must not stop anything ---------------------------------------------------------


def nested(depth: int) -> Any:
    kind: Any = "int"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


LAUGHS = [
    {"type": "record", "name": f"L{n}", "fields": [
        {"name": f"f{i}", "type": f"L{n - 1}" if n else "int"} for i in range(20)]}
    for n in range(7)
]  # fmt: skip
HARM: dict[str, Any] = {
    "nested deep": nested(996),
    "nested deeper": nested(40_000),
    "unions nested deep": [[nested(300)]],
    "an array of nothing": {"type": "array", "items": "null"},
    "an array of empty records": {"type": "array", "items": {
        "type": "record", "name": "E", "fields": [{"name": "x", "type": "null"}]}},
    "an array of fixed of no size": {"type": "array", "items": {
        "type": "fixed", "name": "F", "size": 0}},
    "a fixed of a negative size": {"type": "fixed", "name": "F", "size": -5},
    "a fixed of a text": {"type": "fixed", "name": "F", "size": "x"},
    "a record in itself": {"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]},
    "no type": {"name": "x"},
    "a number": 7,
    "a type of null": {"type": None},
    "a record without fields": {"type": "record", "name": "R"},
    "fields that are none": {"type": "record", "name": "R", "fields": [7]},
    "an enum without symbols": {"type": "enum", "name": "E"},
    "a name that is none": {"type": "enum", "name": 7, "symbols": ["A"]},
    "an array of what there is not": {"type": "array", "items": "Gone"},
}  # fmt: skip


def dumped(kind: Any) -> str:
    """As a field's type. Also of what is nested too deep for the encoder."""
    depth = 0
    while isinstance(kind, dict) and kind.get("type") == "array" and kind["items"] != "null":
        kind, depth = kind["items"], depth + 1
    text = '{"type": "array", "items": ' * depth + json.dumps(kind) + "}" * depth
    return schema(("message_id", "string"), ("x", "TYPE")).replace('"TYPE"', text)


@pytest.mark.parametrize("kind", HARM.values(), ids=HARM.keys())
def test_a_record_with_a_harmful_schema_is_a_dead_letter(kind: Any) -> None:
    for text in (dumped(kind), f'["null", {dumped(kind)}]'):
        items = registered(text).decode([dlr(b"\x02"), Record(GOOD), dlr(b"\x02")])
        assert [getattr(item, "reason", None) for item in items] == [
            "bad_schema", None, "bad_schema",
        ]  # fmt: skip


def test_types_that_grow_when_they_are_written_out_are_left_to_fastavro() -> None:
    text = schema(*BASE.items(), ("x", "L6"))
    names = tuple(map(json.dumps, LAUGHS))
    value = confluent_prefix(7) + write(schema(*BASE.items()), VALUE) + b"\x02" * 30
    [item] = registered(text, *names).decode([Record(value)])
    assert isinstance(item, Rejection)
    assert item.reason == "undecodable"


TREE = {"type": "record", "name": "Tree", "fields": [{"name": "next", "type": ["null", "Tree"]}]}


def test_a_value_nested_too_deep_is_a_dead_letter_and_a_shallow_one_is_read() -> None:
    """Fastavro's compiled reader ends the process at some 5,000 levels."""
    text = schema(*BASE.items(), ("x", TREE))
    head = confluent_prefix(7) + write(schema(*BASE.items()), VALUE)
    values = [head + b"\x02" * depth + b"\0" for depth in (0, 3, 50, 100_000)]
    items = registered(text).decode([*map(Record, values), Record(GOOD)])
    assert items[:3] == [PLAIN] * 3
    assert isinstance(items[3], Rejection)
    assert items[3].reason == "undecodable"
    assert items[4] == EVENT

"""Raw bytes -> events: framings, other people's schemas, and poison."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.commands.produce.events import EventEncoder
from processor.core.events import DeliveryEvent
from processor.core.report.fields import Oddities
from processor.errors import Rejected, Rejection
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.framing import confluent_id, confluent_prefix, single_object_prefix
from tests.contracts.registry_suite import RegistryContract, clock, registry, topic
from tests.kafka.avro.avro_kit import (
    EVENT_SCHEMA,
    NOW,
    Record,
    report,
    schema,
    write,
)
from tests.support.rules import READING

__all__ = ["clock", "registry", "topic"]

SINGLE = single_object_prefix(EVENT_SCHEMA)
GOOD = write(EVENT_SCHEMA, report(), SINGLE)
EVENT = DeliveryEvent("m", 220, NOW - 10, NOW, "00T1", "a")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
STRINGS = {"type": "map", "values": "string"}


class TestMockRegistry(RegistryContract):
    @pytest.fixture
    def registry_url(self) -> str:
        return "mock://tests"


def decoder(*schemas: str, plain: bool = False) -> AvroDecoder:
    return AvroDecoder(schemas or [EVENT_SCHEMA], READING, Oddities(), plain=plain)


def decode(*values: bytes | None) -> list[object]:
    items = decoder().decode([Record(value) for value in values])
    return [item.reason if isinstance(item, Rejection) else item for item in items]


# -- framing -------------------------------------------------------------------------------------


def test_the_fingerprint_is_the_one_of_the_specification() -> None:
    # 0x7275d51a3f395c8f is the fingerprint of "int" in the Java implementation's tests
    assert single_object_prefix('"int"').hex() == "c301" + "8f5c393f1ad57572"


def test_docs_defaults_and_logical_types_do_not_change_the_fingerprint() -> None:
    bare = schema(("a", "long"))
    raw = json.loads(bare)
    raw["fields"][0] |= {"type": MILLIS, "default": 0, "doc": "x"}
    assert single_object_prefix(json.dumps(raw)) == single_object_prefix(bare)


def test_a_confluent_prefix_is_a_zero_and_a_big_endian_id() -> None:
    assert confluent_prefix(258) == b"\x00\x00\x00\x01\x02"
    assert confluent_id(confluent_prefix(258)) == 258


def test_plain_values_are_read_only_where_that_is_set() -> None:
    value = write(EVENT_SCHEMA, report())
    assert decode(value) == ["bad_magic"]
    assert decoder(plain=True).decode([Record(value), Record(b"")])[0] == EVENT


def test_several_schemas_may_be_known_without_a_registry() -> None:
    other = schema(("error_code", "string"), ("message_id", "string"))
    value = write(other, {"error_code": "102", "message_id": "m"}, single_object_prefix(other))
    items = decoder(EVENT_SCHEMA, other).decode([Record(value), Record(GOOD)])
    assert items == [DeliveryEvent("m", 102, NOW, NOW, None, None), EVENT]


# -- poison --------------------------------------------------------------------------------------

POISON = {
    "no value": (None, "empty_value"),
    "empty value": (b"", "empty_value"),
    "bad magic byte": (b"\x01" + GOOD[1:], "bad_magic"),
    "JSON": (b'{"message_id":"m"}', "bad_magic"),
    "half a magic": (b"\xc3", "bad_magic"),
    "no registry for its framing": (confluent_prefix(1) + GOOD[10:], "unknown_schema"),
    "unknown fingerprint": (b"\xc3\x01" + bytes(8) + GOOD[10:], "unknown_schema"),
    "ends in the schema id": (b"\x00\x00\x00", "undecodable"),
    "ends in the fingerprint": (SINGLE[:9], "undecodable"),
    "nothing after the prefix": (SINGLE, "undecodable"),
    "truncated in the middle": (GOOD[:40], "undecodable"),
    "truncated by one byte": (GOOD[:-1], "undecodable"),
    "one byte too many": (GOOD + b"\x00", "trailing_bytes"),
    "two values in one": (GOOD + GOOD[10:], "trailing_bytes"),
    "not UTF-8 where it matters": (GOOD.replace(b"00T1", b"\xff0T1"), "undecodable"),
    "empty message id": (write(EVENT_SCHEMA, report(message_id=""), SINGLE), "no_message_id"),
    "long message id": (write(EVENT_SCHEMA, report(message_id="x" * 256), SINGLE),
                        "bad_message_id"),
    "code null": (write(EVENT_SCHEMA, report(status_code=None), SINGLE), "no_code"),
    "code 999": (write(EVENT_SCHEMA, report(status_code=999), SINGLE), "bad_code"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "reason"), POISON.values(), ids=POISON.keys())
def test_poison_is_rejected_and_its_neighbours_are_not(value: bytes | None, reason: str) -> None:
    assert decode(GOOD, value, GOOD) == [EVENT, reason, EVENT]


@pytest.mark.parametrize(
    ("fields", "value", "reason"),
    [
        ([("message_id", "string")], {"message_id": "m"}, "no_code"),
        ([("status_code", "int")], {"status_code": 220}, "no_message_id"),
        ([("message_id", ["null", "string"]), ("status_code", "int")],
         {"message_id": None, "status_code": 220}, "no_message_id"),
        ([("message_id", "string"), ("status_code", "string")],
         {"message_id": "m", "status_code": "abc"}, "bad_code"),
        ([("message_id", "string"), ("status_code", "double")],
         {"message_id": "m", "status_code": 220.0}, "bad_code"),
        ([("message_id", "bytes"), ("status_code", "int")],
         {"message_id": b"m", "status_code": 220}, "bad_message_id"),
    ],
)  # fmt: skip
def test_a_schema_that_lacks_what_is_needed_gives_the_reason(
    fields: list[tuple[str, Any]], value: dict[str, Any], reason: str
) -> None:
    assert evolved(schema(*fields), value) == reason


def test_a_schema_that_is_no_record_is_undecodable() -> None:
    assert evolved('"string"', "text") == "undecodable"


def test_a_schema_that_cannot_be_parsed_is_refused() -> None:
    with pytest.raises(Rejected, match="bad_schema"):
        decoder(schema(("a", "nonsense")), plain=True)


@given(st.lists(st.binary(max_size=80) | st.binary(max_size=80).map(SINGLE.__add__), max_size=6))
def test_any_bytes_give_one_item_each_and_disturb_nobody(values: list[bytes]) -> None:
    items = decode(*[item for value in values for item in (value, GOOD)])
    assert len(items) == 2 * len(values)
    assert items[1::2] == [EVENT] * len(values)


@given(st.data())
def test_a_flipped_byte_never_disturbs_the_neighbours(data: st.DataObject) -> None:
    broken = bytearray(GOOD)
    broken[data.draw(st.integers(0, len(GOOD) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode(bytes(broken), GOOD)[1] == EVENT


def test_a_rejected_record_does_not_keep_the_batch_alive() -> None:
    """What was raised holds the frames that it went through; a value holds nothing."""
    assert decoder().decode([Record(b"")]) == [Rejection("empty_value")]


# -- other people's schemas ----------------------------------------------------------------------


def evolved(text: str, value: object) -> object:
    """What our decoder makes of a value that was written with this schema."""
    raw = write(text, value, single_object_prefix(text))
    [item] = decoder(text).decode([Record(raw)])
    return item.reason if isinstance(item, Rejection) else item


BASE = {"message_id": "string", "status_code": "int", "date_received": MILLIS}
VALUE = {"message_id": "m", "status_code": 220, "date_received": NOW - 10}
PLAIN = DeliveryEvent("m", 220, NOW - 10, NOW, None, None)
RENAMED = {"type": "record", "name": "Acc", "fields": [{"name": "account_id", "type": "string"}]}
PAIR = {"type": "record", "name": "Pair", "fields": [
    {"name": "key", "type": "string"}, {"name": "value", "type": ["string", "null"]}]}  # fmt: skip

EVOLUTION: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # name: (fields changed or added, values changed or added, event changed)
    "as it is": ({}, {}, {}),
    "code as long": ({"status_code": "long"}, {}, {}),
    "code as string": ({"status_code": "string"}, {"status_code": " 220"}, {}),
    "code as union, null last": ({"status_code": ["int", "null"]}, {}, {}),
    "code as string or int": ({"status_code": ["null", "string", "int"]}, {}, {}),
    "error_code": ({"status_code": ..., "error_code": "string"}, {"error_code": "402"},
                   {"code": 402}),
    "error_code as nullable long": ({"status_code": ..., "error_code": ["null", "long"]},
                                    {"error_code": 402}, {"code": 402}),
    "both codes": ({"error_code": "string"}, {"error_code": "402"}, {}),
    "status_code null beside error_code": (
        {"status_code": ["null", "int"], "error_code": "string"},
        {"status_code": None, "error_code": "402"}, {"code": 402}),
    "micros": ({"date_received": MICROS}, {"date_received": (NOW - 10) * 1000 + 999}, {}),
    "nullable micros": ({"date_received": ["null", MICROS]},
                        {"date_received": (NOW - 10) * 1000}, {}),
    "local millis": ({"date_received": {"type": "long", "logicalType": "local-timestamp-millis"}},
                     {}, {}),
    "nanos": ({"date_received": {"type": "long", "logicalType": "timestamp-nanos"}},
              {"date_received": (NOW - 10) * 1_000_000 + 5}, {}),
    "bare long": ({"date_received": "long"}, {}, {}),
    "ISO string": ({"date_received": "string"},
                   {"date_received": "2023-11-14T22:13:19.990Z"}, {}),
    "ISO string without zone": ({"date_received": ["string", "null"]},
                                {"date_received": "2023-11-14T22:13:19.990"}, {}),
    "ISO string with offset": ({"date_received": "string"},
                               {"date_received": "2023-11-15T09:13:19.990+11:00"}, {}),
    "ISO string or micros": ({"date_received": ["string", MICROS]},
                             {"date_received": (NOW - 10) * 1000}, {}),
    "submitted only": ({"date_received": ..., "submitted_date": MICROS},
                       {"submitted_date": (NOW - 20) * 1000}, {"event_time": NOW - 20}),
    "no dates": ({"date_received": ...}, {}, {"event_time": NOW}),
    "delay as string": ({"delay": "string"}, {"delay": "0"}, {}),
    "extra fields of every kind": (
        {"a": {"type": "array", "items": ["null", "string"]},
         "b": {"type": "map", "values": STRINGS},
         "c": {"type": "enum", "name": "E", "symbols": ["X", "Y"]},
         "d": {"type": "fixed", "name": "F", "size": 3},
         "e": ["bytes", "string"], "f": "double", "g": "boolean", "h": "null",
         "i": {"type": "bytes", "logicalType": "decimal", "precision": 4},
         "j": {"type": "string", "logicalType": "uuid"}, "k": {"type": "float"}},
        {"a": [None, "x"], "b": {"x": {"y": "z"}}, "c": "Y", "d": b"abc", "e": "text", "f": 1.0,
         "g": True, "h": None, "i": b"", "j": "0a5d6baa-0000-4000-8000-000000000000", "k": 1.0},
        {}),
    "metadata map": ({"metadata": STRINGS}, {"metadata": {"salesforce_task_id": "00T1"}},
                     {"task_id": "00T1"}),
    "metadata null": ({"metadata": ["null", STRINGS]}, {"metadata": None}, {}),
    "metadata of nullable strings": (
        {"metadata": {"type": "map", "values": ["null", "string"]}},
        {"metadata": {"salesforce_task_id": "00T1", "x": None}}, {"task_id": "00T1"}),
    "metadata as a list of pairs": (
        {"metadata": {"type": "array", "items": PAIR}},
        {"metadata": [{"key": "salesforce_task_id", "value": "00T1"}]}, {"task_id": "00T1"}),
    "account without a vendor": ({"vendor_account_id": RENAMED},
                                 {"vendor_account_id": {"account_id": "a"}}, {"account_id": "a"}),
    "account null": ({"vendor_account_id": ["null", RENAMED]}, {"vendor_account_id": None}, {}),
    "account as a map": ({"vendor_account_id": STRINGS},
                         {"vendor_account_id": {"account_id": "a"}}, {"account_id": "a"}),
    "a named type used again": ({"other": RENAMED, "vendor_account_id": "Acc"},
                                {"other": {"account_id": "x"},
                                 "vendor_account_id": {"account_id": "a"}}, {"account_id": "a"}),
}  # fmt: skip


@pytest.mark.parametrize("in_reverse", [False, True], ids=["", "reversed"])
@pytest.mark.parametrize(("fields", "values", "expected"), EVOLUTION.values(), ids=EVOLUTION.keys())
def test_a_producers_schema_may_differ(
    fields: dict[str, Any], values: dict[str, Any], expected: dict[str, Any], in_reverse: bool
) -> None:
    kinds = [(name, kind) for name, kind in {**BASE, **fields}.items() if kind is not ...]
    if in_reverse and "other" not in fields:  # a named type is declared before it is used
        kinds.reverse()
    text = schema(*kinds, name="com.example.SomethingElse")
    value = {**VALUE, **values}
    assert evolved(text, value) == replace(PLAIN, **expected)


def test_a_wrong_default_in_the_writers_schema_does_not_matter() -> None:
    raw = json.loads(schema(*BASE.items()))
    raw["fields"][1]["default"] = "none"
    value = write(schema(*BASE.items()), VALUE)
    assert decoder(json.dumps(raw), plain=True).decode([Record(value)]) == [PLAIN]


def test_a_logical_type_of_another_base_is_no_stamp() -> None:
    text = schema(*{**BASE, "date_received": {"type": "int", "logicalType": "date"}}.items())
    value = write(text, {**VALUE, "date_received": 19_675})
    assert decoder(text, plain=True).decode([Record(value)]) == [replace(PLAIN, event_time=NOW)]


def test_a_union_of_records_is_read_by_its_branch() -> None:
    one = json.loads(schema(("message_id", "string"), ("status_code", "int"), name="One"))
    two = json.loads(
        schema(("message_id", "string"), ("error_code", "string"), ("date_received", MICROS),
               name="Two")
    )  # fmt: skip
    union = json.dumps(["null", one, two])
    value = {"message_id": "m", "error_code": "402", "date_received": (NOW - 10) * 1000}
    raw = write(union, ("Two", value))
    [event] = decoder(union, plain=True).decode([Record(raw)])
    assert event == DeliveryEvent("m", 402, NOW - 10, NOW, None, None)


def test_text_that_nobody_reads_need_not_be_valid() -> None:
    assert decode(GOOD.replace(b"Hello", b"Hel\xff\xfe")) == [EVENT]


def test_odd_stamps_are_counted() -> None:
    one = decoder(schema(*{**BASE, "date_received": "string"}.items()), plain=True)
    values = ["soon", "1970-01-01", "2999-01-01T00:00:00Z", "2023-01-01"]
    text = schema(*{**BASE, "date_received": "string"}.items())
    one.decode([Record(write(text, {**VALUE, "date_received": at})) for at in values])
    assert one.stats == Oddities(stamps_unusable=2, stamps_missing=2, stamps_future=1)


# -- encoding ------------------------------------------------------------------------------------


def test_an_encoded_event_is_what_the_schema_says() -> None:
    assert EventEncoder(EVENT_SCHEMA, SINGLE).encode(report()) == GOOD


@pytest.mark.parametrize("bad", [{"original_text": "\ud800"}, {"delay": "x"}, {"metadata": 1}])
def test_what_cannot_be_encoded_is_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="unencodable"):
        EventEncoder(EVENT_SCHEMA, SINGLE).encode(report(**bad))

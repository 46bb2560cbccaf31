"""A writer's schema, cut down to what reading a value needs.

Logical types go, because fastavro would make dates of integers (slow) and we want the integers
back: what they said of a field's unit is kept. Docs, defaults and aliases go too; a reader does
not need a writer's defaults, and a wrong one must not stop it. Text that nobody looks at is read
as bytes, which lie the same way and cost less; then it need not be valid text either.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from processor.errors import Rejected

BROKEN: Final = (
    EOFError,
    ValueError,  # not UTF-8, for one
    LookupError,  # a branch or a symbol that the schema does not have
    TypeError,
    OverflowError,
    MemoryError,  # a length that no value has
    RecursionError,
    SchemaResolutionError,
    struct.error,
)
"""What fastavro's reader raises for bytes that are no value of the schema."""

_UNITS: Final = {
    "timestamp-millis": 1,
    "timestamp-micros": 1_000,
    "timestamp-nanos": 1_000_000,
    "local-timestamp-millis": 1,
    "local-timestamp-micros": 1_000,
    "local-timestamp-nanos": 1_000_000,
}
_STRUCTURE: Final = ("name", "namespace", "symbols", "size")


class WriterSchema(NamedTuple):
    """`parsed` is for fastavro. `present`: fields that every value has. `units`: for integer
    times that are finer than milliseconds, how many make one.
    """

    parsed: Any
    present: frozenset[str]
    units: Mapping[str, int]


def parse_writer(
    text: str, used: Collection[str] | None, references: Sequence[str] = ()
) -> WriterSchema:
    """Cut a schema down to the fields in `used` (None: all). `references`: schemas it refers to.

    Raises Rejected (`bad_schema`) for what can't be parsed.
    """
    try:
        named: dict[str, Any] = {}
        for reference in references:
            parse_schema(_structure(json.loads(reference)), named)
        raw = json.loads(text)
        plain = _structure(raw)
        records = [raw] if isinstance(raw, dict) else raw if isinstance(raw, list) else []
        fields = [
            field
            for record in records
            if isinstance(record, dict)
            for field in record.get("fields", ())
        ]
        units = {field["name"]: _unit(field["type"]) for field in fields}
        present: frozenset[str] = frozenset()
        if isinstance(plain, dict) and plain["type"] == "record":
            present = frozenset(units)
            for field in plain["fields"]:
                if used is not None and field["name"] not in used:
                    field["type"] = _as_bytes(field["type"])
        parsed = parse_schema(plain, named)
    except (SchemaParseException, UnknownType, ValueError, LookupError, TypeError) as error:
        raise Rejected("bad_schema", f"{type(error).__name__} while parsing it") from error
    return WriterSchema(parsed, present, {name: unit for name, unit in units.items() if unit > 1})


def _structure(schema: Any) -> Any:
    """The schema without everything that does not change how a value lies in bytes."""
    if isinstance(schema, list):
        return [_structure(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema["type"]
    if kind in ("record", "error"):
        fields = [
            {"name": field["name"], "type": _structure(field["type"])} for field in schema["fields"]
        ]
        return {"type": "record", **_kept(schema), "fields": fields}
    if kind == "array":
        return {"type": kind, "items": _structure(schema["items"])}
    if kind == "map":
        return {"type": kind, "values": _structure(schema["values"])}
    if kind in ("enum", "fixed"):
        return {"type": kind, **_kept(schema)}
    return _structure(kind)


def _kept(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _STRUCTURE if key in schema}


def _as_bytes(kind: Any) -> Any:
    """The same wire format with bytes for text. Named types stay: others may refer to them."""
    if kind == "string":
        return "bytes"
    if isinstance(kind, list):
        return kind if "bytes" in kind else [_as_bytes(branch) for branch in kind]
    if isinstance(kind, dict) and kind["type"] == "map":
        return {"type": "map", "values": _as_bytes(kind["values"])}
    if isinstance(kind, dict) and kind["type"] == "array":
        return {"type": "array", "items": _as_bytes(kind["items"])}
    return kind


def _unit(kind: Any) -> int:
    if isinstance(kind, list):
        return max((_unit(branch) for branch in kind), default=1)
    if isinstance(kind, dict):
        return _UNITS.get(str(kind.get("logicalType")), 1)
    return 1


def parse_reader(text: str, unused: Collection[str]) -> Any:
    """A record schema of ours to resolve other writers' values to: without the unused fields,
    which a writer may lack then; defaults stay, logical types go.
    """
    raw = _without_logical_types(json.loads(text))
    raw["fields"] = [field for field in raw["fields"] if field["name"] not in unused]
    return parse_schema(raw)


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value if key == "default" else _without_logical_types(value)
        for key, value in node.items()
        if key != "logicalType"
    }

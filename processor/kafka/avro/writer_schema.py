"""A writer's schema, cut down to what reading a value needs.

Logical types go, because fastavro would make dates of integers (slow) and we want the integers
back: what they said of a field's unit is kept. Docs, defaults and aliases go too; a reader does
not need a writer's defaults, and a wrong one must not stop it. Text that nobody looks at is read
as bytes, which lie the same way and cost less; then it need not be valid text either.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, NamedTuple

from fastavro import schemaless_reader
from fastavro._read_py import schemaless_reader as read_in_python
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
MAX_NESTING: Final = 100  # of a schema's types: each is a call, here and in fastavro

_NO_SCHEMA: Final = (
    SchemaParseException, UnknownType, ValueError, LookupError, TypeError, AttributeError,
    OverflowError, RecursionError,
)  # fmt: skip
_PRIMITIVES: Final = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_RECORDS: Final = ("record", "error")
_NAMED: Final = (*_RECORDS, "enum", "fixed")
_INNER: Final = {"array": "items", "map": "values"}
_CONTAINERS: Final = tuple(_INNER)
_COMPLEX: Final = (*_NAMED, *_CONTAINERS)
_NO_NAMESPACE: Final = "_"  # else such a type could not be named from within a namespace


class WriterSchema(NamedTuple):
    """`parsed` is for fastavro. `present`: fields that every value has. `units`: for integer
    times that are finer than milliseconds, how many make one. `recursive`: its values may be
    nested as deep as they are long.
    """

    parsed: Any
    present: frozenset[str]
    units: Mapping[str, int]
    recursive: bool = False


def parse_writer(
    text: str, used: Collection[str] | None, references: Sequence[str] = ()
) -> WriterSchema:
    """Cut a schema down to the fields in `used` (None: all). `references`: schemas it refers to.

    Raises Rejected (`bad_schema`) for what can't be parsed.
    """
    return Source(text, references).cut(used)


class Source:
    """A schema as its writer has registered it, with the schemas that it refers to.

    Raises Rejected (`bad_schema`), here and in `cut`, for whatever is no schema, for one that is
    nested too deep, and for one whose values could be endless although they are short.
    """

    def __init__(self, text: str, references: Sequence[str] = ()) -> None:
        self._named: dict[str, _Place] = {}
        with _parsing():
            for reference in references:
                self._collect(_Place(json.loads(reference), ""), 0)
            top = _Place(json.loads(text), "")
            self._collect(top, 0)
            self._top = self.peeled(top)

    @property
    def branches(self) -> int | None:
        """How many kinds of value there are, where the schema is a union; None where it is not."""
        return len(self._top.node) if isinstance(self._top.node, list) else None

    def cut(self, used: Collection[str] | None, branch: int | None = None) -> WriterSchema:
        """For the values of a branch (None: of all). `used` as for `parse_writer`."""
        with _parsing():
            top = self._top if branch is None else self.peeled(self._top.of(self._top.node[branch]))
            cutter = _Cutter(self)
            plain = cutter.cut(top, 0)
            units: dict[str, int] = {}
            if isinstance(plain, dict) and plain["type"] == "record":
                units = {field["name"]: _unit(field["type"]) for field in top.node["fields"]}
                for field in plain["fields"]:
                    if used is not None and field["name"] not in used:
                        field["type"] = _as_bytes(field["type"])
            finer = {name: unit for name, unit in units.items() if unit > 1}
            return WriterSchema(parse_schema(plain), frozenset(units), finer, cutter.recursive)

    def resolved(self, name: str, namespace: str) -> str:
        """The full name of a type that is called so in a namespace. Raises LookupError."""
        for full in (name,) if "." in name else (f"{namespace}.{name}", name):
            if full.lstrip(".") in self._named:
                return full.lstrip(".")
        raise LookupError(name)

    def named(self, full: str) -> _Place:
        """The definition of a type."""
        return self._named[full]

    def peeled(self, place: _Place) -> _Place:
        """A schema that only wraps or names another one -> that one."""
        for _ in range(MAX_NESTING):
            node = place.node
            if isinstance(node, dict) and node["type"] not in _COMPLEX:
                place = place.of(node["type"])
            elif isinstance(node, str) and node not in _PRIMITIVES:
                return self._named[self.resolved(node, place.namespace)]
            else:
                break
        return place

    def _collect(self, place: _Place, depth: int) -> None:
        """Find the definitions of named types, wherever they stand."""
        if depth > MAX_NESTING:
            raise ValueError(f"nested more than {MAX_NESTING} deep")
        node = place.node
        if isinstance(node, list):
            for branch in node:
                self._collect(place.of(branch), depth + 1)
        if not isinstance(node, dict):
            return
        kind = node["type"]
        if kind in _NAMED:
            self._named.setdefault(_full_name(node, place.namespace), place)
            inside = place.inside()
            for field in node["fields"] if kind in _RECORDS else ():
                self._collect(inside.of(field["type"]), depth + 1)
        elif kind in _CONTAINERS:
            self._collect(place.of(node[_INNER[kind]]), depth + 1)
        elif not isinstance(kind, str):
            self._collect(place.of(kind), depth + 1)


class _Place(NamedTuple):
    """A part of a schema, and the namespace in which it stands."""

    node: Any
    namespace: str

    def of(self, part: Any) -> _Place:
        return _Place(part, self.namespace)

    def inside(self) -> _Place:
        """The same, where the namespace is that of its own name."""
        return _Place(self.node, _full_name(self.node, self.namespace).rpartition(".")[0])


class _Cutter:
    """One schema that stands by itself, without all that does not change how values lie in bytes.

    A named type is defined where it is met first; all its names are full ones.
    """

    def __init__(self, source: Source) -> None:
        self.recursive = False
        self._source = source
        self._done: set[str] = set()
        self._open: dict[str, int] = {}  # being defined -> how many containers were around it
        self._containers = 0
        self._empty: set[str] = set()  # types whose values take no bytes

    def cut(self, place: _Place, depth: int) -> Any:
        if depth > MAX_NESTING:
            raise ValueError(f"nested more than {MAX_NESTING} deep")
        node = place.node
        if isinstance(node, list):
            return self._contained([place.of(branch) for branch in node], depth)
        if isinstance(node, str):
            if node in _PRIMITIVES:
                return node
            return self._type(self._source.resolved(node, place.namespace), depth)
        kind = node["type"]
        if kind in _NAMED:
            return self._type(_full_name(node, place.namespace), depth)
        if kind not in _CONTAINERS:
            return self.cut(place.of(kind), depth + 1)
        (inner,) = self._contained([place.of(node[_INNER[kind]])], depth)
        if kind == "array" and self._is_empty(inner):
            raise ValueError("an array of what takes no bytes can be of any length")
        return {"type": kind, _INNER[kind]: inner}

    def _contained(self, parts: Sequence[_Place], depth: int) -> list[Any]:
        """What stands in a container, which itself takes a byte of every value at least."""
        self._containers += 1
        found = [self.cut(part, depth + 1) for part in parts]
        self._containers -= 1
        return found

    def _type(self, full: str, depth: int) -> Any:
        name = full if "." in full else f"{_NO_NAMESPACE}.{full}"
        if full in self._open:
            if self._open[full] == self._containers:
                raise ValueError("a record that is in itself")
            self.recursive = True
        if full in self._open or full in self._done:
            return name
        place = self._source.named(full)
        node, kind = place.node, place.node["type"]
        cut: dict[str, Any] = {"type": "record" if kind in _RECORDS else kind, "name": name}
        if kind == "enum":
            cut["symbols"] = node["symbols"]
        elif kind == "fixed":
            cut["size"] = node["size"]
            if type(node["size"]) is not int or node["size"] < 0:
                raise ValueError("a fixed type without a size")
        else:
            self._open[full] = self._containers
            inside = place.inside()
            cut["fields"] = [
                {"name": field["name"], "type": self.cut(inside.of(field["type"]), depth + 1)}
                for field in node["fields"]
            ]
            del self._open[full]
        self._done.add(full)
        if self._has_nothing(cut):
            self._empty.add(name)
        return cut

    def _is_empty(self, cut: Any) -> bool:
        name = cut["name"] if isinstance(cut, dict) and "name" in cut else cut
        return isinstance(name, str) and (name == "null" or name in self._empty)

    def _has_nothing(self, cut: dict[str, Any]) -> bool:
        if cut["type"] == "record":
            return all(self._is_empty(field["type"]) for field in cut["fields"])
        return cut.get("size") == 0


def _full_name(node: Mapping[str, Any], namespace: str) -> str:
    """Avro specification, "Names"."""
    name: str = node["name"]
    own = node.get("namespace", namespace)
    return name if "." in name or not own else f"{own}.{name}"


@contextmanager
def _parsing() -> Iterator[None]:
    """Whatever is wrong with a schema becomes Rejected (`bad_schema`)."""
    try:
        yield
    except _NO_SCHEMA as error:
        raise Rejected("bad_schema", f"{type(error).__name__} while parsing it") from error


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
        return _UNITS.get(str(kind.get("logicalType"))) or _unit(kind["type"])
    return 1


def read_value(stream: BytesIO, schema: WriterSchema) -> Any:
    """By fastavro. Raises one of BROKEN.

    Its compiled reader does not count how deep it is in a value, and ends the process where it is
    too deep (a value of 8 kB can be); the one in Python does count.
    """
    reader = read_in_python if schema.recursive else schemaless_reader
    return reader(stream, schema.parsed, None)


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

"""A writer's schema -> straight-line Python that reads its values, for the hottest loop of all.

fastavro takes 4.6 us for an event, most of it for fields that nobody looks at; this takes two
thirds of that, because it steps over them. It is a shortcut and never a judge: where the bytes are
not plainly what the schema says it raises, and the caller lets fastavro read the value. A law
(tests/kafka/avro/test_event_reader.py): whatever it accepts, fastavro reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

FastReader = Callable[[bytes, int], tuple[dict[str, Any], int]]
"""(value, where its record begins) -> (the wanted fields, where it ended)."""

NEEDS_FASTAVRO: Final = (IndexError, ValueError)
"""What a fast reader raises where fastavro has to look (UnicodeDecodeError is a ValueError)."""

MAX_DEPTH: Final = 8  # of nested types; a recursive schema would go on for ever
MAX_LINES: Final = 5_000  # types that are used again are written again, and again within those
MAX_BRANCHES: Final = 64  # of a union: its index is one byte
_MAX_VARINT_BYTES: Final = 9  # fewer than Avro allows: the last one could overflow


class UnsupportedError(Exception):
    """The schema is not for this: fastavro reads all its values."""


def compile_reader(parsed: Any, wanted: Collection[str]) -> FastReader | None:
    """A reader for records of a schema parsed by fastavro; None: there can't be one.

    Only the wanted fields are in what it returns.
    """
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        return None
    source = _Source()
    try:
        source.add(f"return {source.fields(parsed, wanted, 0)}, p")
    except UnsupportedError:
        return None
    return source.function()


class _Source:
    """The text of `def read(b, p)`, line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._indent = 1
        self._names = 0
        self._globals: dict[str, Any] = {"more": _more}
        self._named: dict[str, Any] = {}

    def add(self, line: str) -> None:
        if len(self._lines) == MAX_LINES:
            raise UnsupportedError
        self._lines.append("    " * self._indent + line)

    def function(self) -> FastReader:
        text = "\n".join(["def read(b, p):", "    end = len(b)", *self._lines])
        # The text is made here, of names that we count; what a schema names is in it as repr().
        exec(compile(text, "<fast reader>", "exec"), self._globals)  # noqa: S102
        read: FastReader = self._globals["read"]
        return read

    # -- what each type's bytes look like (Avro specification, "Binary encoding") --------------

    def fields(self, record: Any, wanted: Collection[str] | None, depth: int) -> str:
        """Read a record; the expression of a dict with the wanted fields (None: all)."""
        kept = []
        for field in record["fields"]:
            name = field["name"]
            if wanted is None or name in wanted:
                kept.append(f"{name!r}: {self.value(field['type'], depth + 1)}")
            else:
                self.skip(field["type"], depth + 1)
        return "{" + ", ".join(kept) + "}"

    def value(self, schema: Any, depth: int) -> str:
        """Read a value into a new variable; its name."""
        return self._read(schema, depth, self._fresh())

    def skip(self, schema: Any, depth: int) -> None:
        self._read(schema, depth, None)

    def _read(self, schema: Any, depth: int, out: str | None) -> str:
        if depth > MAX_DEPTH:
            raise UnsupportedError
        if isinstance(schema, list):
            self._union(schema, depth, out)
            return out or ""
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(schema, dict) and "name" in schema:
            self._named[schema["name"]] = schema
        write = getattr(self, f"_{kind}", None) if isinstance(kind, str) else None
        if write is None:
            raise UnsupportedError
        write(schema, depth, out)
        return out or ""

    def _null(self, _schema: Any, _depth: int, out: str | None) -> None:
        self.add(f"{out} = None" if out else "pass")

    def _boolean(self, _schema: Any, _depth: int, out: str | None) -> None:
        self.add("if b[p] > 1: raise ValueError")
        if out:
            self.add(f"{out} = b[p] == 1")
        self.add("p += 1")

    def _long(self, _schema: Any, _depth: int, out: str | None) -> None:
        if out:
            self._varint(out)
            self.add(f"{out} = {out} >> 1 ^ -({out} & 1)")
            return
        start = self._fresh()
        self.add(f"{start} = p")
        self.add("while b[p] > 127: p += 1")
        self.add("p += 1")
        self.add(f"if p - {start} > {_MAX_VARINT_BYTES}: raise ValueError")

    _int = _long

    def _float(self, _schema: Any, _depth: int, out: str | None) -> None:
        self._width(4, out)

    def _double(self, _schema: Any, _depth: int, out: str | None) -> None:
        self._width(8, out)

    def _fixed(self, schema: Any, _depth: int, out: str | None) -> None:
        self._width(int(schema["size"]), out)

    def _width(self, size: int, out: str | None) -> None:
        if out:
            raise UnsupportedError  # no field that we want is made of these
        self.add(f"p += {size}")

    def _bytes(self, _schema: Any, _depth: int, out: str | None) -> None:
        self._sized(out, "b[p - {n}:p]")

    def _string(self, _schema: Any, _depth: int, out: str | None) -> None:
        # Text is only text where it is UTF-8, wanted or not.
        self._sized(out or self._fresh(), "b[p - {n}:p].decode()")

    def _sized(self, out: str | None, take: str) -> None:
        size = self._fresh()
        self._varint(size)
        self.add(f"if {size} & 1: raise ValueError")
        self.add(f"{size} >>= 1")
        self.add(f"p += {size}")
        if out:
            self.add("if p > end: raise ValueError")
            self.add(f"{out} = {take.format(n=size)}")

    def _enum(self, schema: Any, depth: int, out: str | None) -> None:
        symbols = self._fresh()
        self._globals[symbols] = tuple(schema["symbols"])
        index = out or self._fresh()
        self._long(schema, depth, index)
        self.add(f"if {index} < 0: raise ValueError")
        self.add(f"{index} = {symbols}[{index}]")

    def _union(self, branches: Any, depth: int, out: str | None) -> None:
        if len(branches) > MAX_BRANCHES:
            raise UnsupportedError
        index = self._fresh()
        self.add(f"{index} = b[p]; p += 1")
        for number, branch in enumerate(branches):
            self.add(f"{'if' if number == 0 else 'elif'} {index} == {number << 1}:")
            self._indent += 1
            self._read(branch, depth + 1, out)
            self._indent -= 1
        self.add("else: raise ValueError")

    def _record(self, schema: Any, depth: int, out: str | None) -> None:
        if out is None:
            for field in schema["fields"]:
                self.skip(field["type"], depth + 1)
            self.add("pass")
            return
        self.add(f"{out} = {self.fields(schema, None, depth)}")

    def _map(self, schema: Any, depth: int, out: str | None) -> None:
        def item() -> None:
            key = self._fresh()
            self._string(None, depth, key)
            value = self._read(schema["values"], depth + 1, self._fresh() if out else None)
            if out:
                self.add(f"{out}[{key}] = {value}")

        self._blocks(item, f"{out} = {{}}" if out else "pass")

    def _array(self, schema: Any, depth: int, out: str | None) -> None:
        def item() -> None:
            value = self._read(schema["items"], depth + 1, self._fresh() if out else None)
            if out:
                self.add(f"{out}.append({value})")

        self._blocks(item, f"{out} = []" if out else "pass")

    def _blocks(self, item: Callable[[], None], begin: str) -> None:
        count = self._fresh()
        self.add(begin)
        self.add("while True:")
        self._indent += 1
        self._long(None, 0, count)
        self.add(f"if {count} == 0: break")
        # A block that gives its size, or more items than there are bytes: not for us.
        self.add(f"if not 0 < {count} <= end: raise ValueError")
        self.add(f"for _ in range({count}):")
        self._indent += 1
        item()
        self.add("pass")
        self._indent -= 2

    def _varint(self, out: str) -> None:
        self.add(f"{out} = b[p]; p += 1")
        self.add(f"if {out} > 127: {out}, p = more(b, p, {out})")

    def _fresh(self) -> str:
        self._names += 1
        return f"v{self._names}"


def _more(b: bytes, p: int, first: int) -> tuple[int, int]:
    """A varint of more than one byte, and where it ends. Times have six."""
    second = b[p]
    number = first & 0x7F | (second & 0x7F) << 7
    p += 1
    if second < 1 << 7:
        return number, p
    shift = 14
    while shift < 7 * _MAX_VARINT_BYTES:
        byte = b[p]
        p += 1
        if byte < 1 << 7:
            return number | byte << shift, p
        number |= (byte & 0x7F) << shift
        shift += 7
    raise ValueError(first)

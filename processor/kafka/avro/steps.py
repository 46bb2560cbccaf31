"""A writer's schema -> the steps in which `ValueReader` reads its values: a list of small numbers.

Types that are used again are laid out again, so that a value is read straight down. What there is
no step for is left to fastavro: the schema then has no steps at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from processor.kafka.avro.value_reader import Step

MAX_DEPTH: Final = 8  # of nested types; a recursive schema would go on for ever
MAX_STEPS: Final = 20_000  # types that are used again are laid out again, and again within those
_UNWANTED: Final = ""  # the path of a value that nobody wants
_ENTRY: Final = "[]"  # the path of a map's entry that is wanted


class Slot(NamedTuple):
    """Where a field's value goes: the index of a text, and of a number (-1: it can't be one).

    `entry`: the field is a map, and the value of the reader's key goes there. `codes`: the field is
    a map of times by code.
    """

    text: int = -1
    number: int = -1
    entry: Slot | None = None
    codes: bool = False


class UnsupportedError(Exception):
    """The schema is not for this: fastavro reads all its values."""


def steps_of(parsed: Any, wanted: Mapping[str, Slot]) -> list[int] | None:
    """The steps for records of a schema parsed by fastavro; None: there can't be any.

    `wanted`: slots by the field's name, with dots for a field of a field.
    """
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        return None
    layout = _Layout(wanted)
    try:
        layout.fields(parsed, "", 0)
    except UnsupportedError:
        return None
    layout.add(Step.END)
    return layout.steps


class _Layout:
    def __init__(self, wanted: Mapping[str, Slot]) -> None:
        self.steps: list[int] = []
        self._wanted = dict(wanted)
        self._named: dict[str, Any] = {}

    def add(self, *steps: int) -> int:
        """Where they begin."""
        if len(self.steps) > MAX_STEPS:
            raise UnsupportedError
        self.steps += steps
        return len(self.steps) - len(steps)

    def fields(self, record: Any, path: str, depth: int) -> None:
        for field in record["fields"]:
            self._value(field["type"], path + field["name"], depth + 1)

    def _value(self, schema: Any, path: str, depth: int) -> None:

        if depth > MAX_DEPTH:
            raise UnsupportedError
        if isinstance(schema, list):
            self._union(schema, path, depth)
            return
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(schema, dict) and "name" in schema:
            self._named[schema["name"]] = schema
        add = getattr(self, f"_{kind}", None) if isinstance(kind, str) else None
        if add is None:
            raise UnsupportedError
        add(schema, path, depth)

    def _slot(self, path: str, name: str) -> int:
        """Of a text or number; -1: not wanted. What is wanted otherwise is not for us."""
        slot = self._wanted.get(path)
        if slot is None:
            return -1
        found: int = getattr(slot, name)
        if found < 0:
            raise UnsupportedError
        return found

    def _unwanted(self, path: str) -> None:
        if path in self._wanted:
            raise UnsupportedError

    def _no_part_wanted(self, path: str) -> None:
        """A field of a field may be an entry of a map, for the eyes of who wants it."""
        if path and any(name.startswith(f"{path}.") for name in self._wanted):
            raise UnsupportedError

    # -- what each type's bytes look like (Avro specification, "Binary encoding") --------------

    def _null(self, _schema: Any, path: str, _depth: int) -> None:
        """No bytes. The entry of a map may come twice, with a text before it."""
        slot = self._wanted.get(path)
        if slot is not None and slot.text >= 0:
            self.add(Step.NO_TEXT, slot.text)

    def _boolean(self, _schema: Any, path: str, _depth: int) -> None:
        self._unwanted(path)
        self.add(Step.SKIP_BOOLEAN)

    def _long(self, _schema: Any, path: str, _depth: int) -> None:
        slot = self._slot(path, "number")
        self.add(*((Step.SKIP_NUMBER,) if slot < 0 else (Step.NUMBER, slot)))

    _int = _long

    def _float(self, _schema: Any, path: str, _depth: int) -> None:
        self._width(4, path)

    def _double(self, _schema: Any, path: str, _depth: int) -> None:
        self._width(8, path)

    def _fixed(self, schema: Any, path: str, _depth: int) -> None:
        self._width(int(schema["size"]), path)

    def _width(self, size: int, path: str) -> None:
        self._unwanted(path)
        self.add(Step.SKIP_BYTES, size)

    def _bytes(self, _schema: Any, path: str, _depth: int) -> None:
        self._unwanted(path)
        self.add(Step.SKIP_SIZED)

    def _string(self, _schema: Any, path: str, _depth: int) -> None:
        slot = self._slot(path, "text")
        self.add(*((Step.SKIP_TEXT,) if slot < 0 else (Step.TEXT, slot)))

    def _enum(self, schema: Any, path: str, _depth: int) -> None:
        slot = self._slot(path, "number")
        symbols = len(schema["symbols"])
        self.add(*((Step.SKIP_SYMBOL, symbols) if slot < 0 else (Step.SYMBOL, symbols, slot)))

    def _record(self, schema: Any, path: str, depth: int) -> None:
        self._unwanted(path)
        self.fields(schema, f"{path}.", depth)

    _error = _record

    def _union(self, branches: list[Any], path: str, depth: int) -> None:
        """The number of branches, where each begins, and the branches; each ends with a jump."""
        begin = self.add(Step.UNION, len(branches), *(0 for _ in branches)) + 2
        jumps = []
        for index, branch in enumerate(branches):
            self.steps[begin + index] = len(self.steps)
            self._value(branch, path, depth + 1)
            jumps.append(self.add(Step.JUMP, 0) + 1)
        for jump in jumps:
            self.steps[jump] = len(self.steps)

    def _map(self, schema: Any, path: str, depth: int) -> None:
        slot = self._wanted.get(path)
        if slot is None:
            self._no_part_wanted(path)
            self._blocks(Step.SKIP_MAP, schema["values"], depth)
        elif slot.codes and schema["values"] == "long":
            self.add(Step.TIMES_BY_CODE)
        elif slot.entry is not None:
            self._wanted[_ENTRY] = slot.entry
            self._lookup(schema["values"], depth)
        else:
            raise UnsupportedError

    def _array(self, schema: Any, path: str, depth: int) -> None:
        self._unwanted(path)
        self._no_part_wanted(path)
        self._blocks(Step.SKIP_ARRAY, schema["items"], depth)

    def _blocks(self, step: int, item: Any, depth: int) -> None:
        """Where the step ends, and the steps of an item."""
        begin = self.add(step, 0)
        self._value(item, _UNWANTED, depth + 1)
        self.add(Step.END)
        self.steps[begin + 1] = len(self.steps)

    def _lookup(self, values: Any, depth: int) -> None:
        """Where the step ends, where the steps of the wanted value begin, those of any other."""
        begin = self.add(Step.LOOKUP, 0, 0)
        self._value(values, _UNWANTED, depth + 1)
        self.add(Step.END)
        self.steps[begin + 2] = len(self.steps)
        self._value(values, _ENTRY, depth + 1)
        self.add(Step.END)
        self.steps[begin + 1] = len(self.steps)

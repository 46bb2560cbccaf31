"""The mapped fields of a Task: what `describe` says of them, what they take, what they give back.

Pure. Salesforce compares the names of fields without regard to case, so all keys are lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from processor.core.attributes import ATTRIBUTES
from processor.core.codes import CATALOGUE
from processor.core.events import MessageState

TEXT_TYPES: Final = frozenset(
    "string textarea email phone url picklist multipicklist combobox encryptedstring".split()
)
NUMBER_TYPES: Final = frozenset(["double", "int", "long", "currency", "percent"])
_TYPES_OF: Final = {
    str: TEXT_TYPES,
    int: NUMBER_TYPES | TEXT_TYPES,
    bool: TEXT_TYPES | {"boolean"},
}
_SAMPLE_ID: Final = "0" * 36  # message ids are UUIDs
_SAMPLE_AT_MS: Final = 1_700_000_000_000


class Field(NamedTuple):
    """A field as `describe` shows it. `digits`: before the decimal point."""

    name: str
    type: str
    updateable: bool
    length: int
    digits: int
    choices: frozenset[str] | None


Fields = Mapping[str, Field]


def read_describe(body: object) -> dict[str, Field] | None:
    """The body of `sobjects/Task/describe`; None where it is not one.

    An entry that can't be read is as if it were not there: only of a mapped field does it matter,
    and then `problems` says what is missing.
    """
    listed = body.get("fields") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        return None
    fields = [
        _field(one["name"], one)
        for one in listed
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    ]
    if listed and not fields:
        return None
    return {field.name.lower(): field for field in fields}


def _field(name: str, one: Mapping[str, Any]) -> Field:
    kind = one.get("type")
    # Integers have `digits`; of other numbers `precision` counts the decimals (`scale`) too.
    decimal = _count(one.get("precision")) - _count(one.get("scale"))
    return Field(
        name,
        kind if isinstance(kind, str) and kind.isascii() else "",
        one.get("updateable") is True,
        _count(one.get("length")),
        _count(one.get("digits")) or max(0, decimal),
        _choices(one.get("picklistValues")) if one.get("restrictedPicklist") is True else None,
    )


def _choices(values: object) -> frozenset[str] | None:
    """What a restricted picklist admits; None where that is not said."""
    if not isinstance(values, list):
        return None
    active = [value.get("value") for value in values if _is_active(value)]
    return frozenset(value for value in active if isinstance(value, str))


def _is_active(value: object) -> bool:
    return isinstance(value, dict) and value.get("active") is True


def _count(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def encode(values: Mapping[str, object], fields: Fields) -> dict[str, object]:
    """Values as their fields take them.

    A number for a text field as a number of JSON fails the whole request (JSON_PARSER_ERROR), so
    it becomes text. What we know nothing of goes as it is.
    """
    return {name: _encode(value, fields.get(name.lower())) for name, value in values.items()}


def _encode(value: object, field: Field | None) -> object:
    if field is None or field.type not in TEXT_TYPES:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def same(values: Mapping[str, object], record: Mapping[str, object], fields: Fields) -> bool:
    """Whether a Task that was read back (keys in lower case) holds the values."""
    return all(
        _same(value, record.get(name.lower()), fields.get(name.lower()))
        for name, value in encode(values, fields).items()
    )


def _same(ours: object, theirs: object, field: Field | None) -> bool:
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, str) and field is not None and field.type == "datetime":
        return _instant(ours) == _instant(theirs)
    # Salesforce trims text, and empty text is no value. 402 comes back as 402.0.
    trimmed = (ours.strip() or None) if isinstance(ours, str) else ours
    return trimmed == theirs


def _instant(value: object) -> object:
    """Whole seconds: fields of an org's own keep no parts of them."""
    if not isinstance(value, str):
        return value
    try:
        return int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError):
        return value


def problems(mapping: Mapping[str, str], fields: Fields) -> list[str]:
    """Why a mapping of field -> attribute can't work, one text for each thing to change.

    Tried with the values of every code of the catalogue.
    """
    found: list[str] = []
    for name, attribute in mapping.items():
        field = fields.get(name.lower())
        if attribute not in ATTRIBUTES:
            found.append(f"{name}: there is no attribute {attribute!r} to be written")
        elif field is None:
            found.append(
                f"{name}: Task has no such field, or the user may not see it"
                " (custom fields of Tasks are made on Activity)"
            )
        elif not field.type:
            found.append(f"{name}: the org's describe of Task does not say the type of this field")
        elif not field.updateable:
            found.append(f"{name}: the user may not update it (field-level security)")
        else:
            reason = _misfit(field, [ATTRIBUTES[attribute](state) for state in _samples()])
            if reason is not None:
                found.append(f"{name}: {reason}, for the attribute {attribute!r}")
    return found


def _misfit(field: Field, values: list[object]) -> str | None:
    kinds = _TYPES_OF.get(type(values[0]), frozenset())
    is_stamp = field.type == "datetime" and isinstance(_instant(values[0]), int)
    if field.type not in kinds and not is_stamp:
        return f"a field of type {field.type} does not take it"
    encoded = [_encode(value, field) for value in values]
    texts = [value for value in encoded if isinstance(value, str)]
    if field.type in TEXT_TYPES and field.length:
        longest = max(map(len, texts))
        if longest > field.length:
            return f"holds {field.length} characters, and {longest} are needed"
    if field.choices is not None and (missing := sorted(set(texts) - field.choices)):
        return f"the picklist is restricted and lacks {', '.join(missing)}"
    if field.type in NUMBER_TYPES and field.digits:
        longest = max(len(str(value)) for value in values)
        if longest > field.digits:
            return f"holds {field.digits} digits, and {longest} are needed"
    return None


def _samples() -> list[MessageState]:
    at = _SAMPLE_AT_MS
    return [
        MessageState(_SAMPLE_ID, {code.number: at}, code.number, None, at, None, at, 1, at)
        for code in CATALOGUE
    ]

"""What a Task of the sandbox org looks like: its Ids, its fields, and which values they take.

Pure: no lock, clock or wire. Error codes and messages are those of the SOAP "Core Data Types"
list; only the codes are a contract, the messages are there for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

TASK_PREFIX: Final = "00T"
FieldType = Literal["id", "string", "double", "boolean", "datetime"]

_SUFFIX_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


class RowError(NamedTuple):
    """Why one row failed; `code` is Salesforce's StatusCode."""

    code: str
    message: str
    fields: tuple[str, ...] = ()


class ApiError(Exception):
    """A whole request failed: an HTTP status and Salesforce's error code."""

    def __init__(
        self, status: int, code: str, message: str, fields: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> list[dict[str, object]]:
        """The JSON that Salesforce answers a failed request with (a list of one object)."""
        error: dict[str, object] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            error["fields"] = list(self.fields)
        return [error]


class MalformedIdError(ValueError):
    """The text is not an Id of a Task; the message says why, as Salesforce does."""


def id_18(id_15: str) -> str:
    """Return the 18-character form: three more characters tell which letters are capitals."""
    suffix = ""
    for start in (0, 5, 10):
        chunk = id_15[start : start + 5]
        bits = sum(1 << i for i, letter in enumerate(chunk) if "A" <= letter <= "Z")
        suffix += _SUFFIX_ALPHABET[bits]
    return id_15 + suffix


def task_id_18(raw: object) -> str:
    """Return the 18-character form of a Task's Id; raise MalformedIdError for anything else."""
    if not isinstance(raw, str) or not (raw.isascii() and raw.isalnum()):
        raise MalformedIdError(f"malformed id {raw}")
    if len(raw) not in (15, 18):
        raise MalformedIdError(f"malformed id {raw}")
    full = id_18(raw[:15])
    if len(raw) == 18 and raw != full:
        raise MalformedIdError(f"malformed id {raw}")
    if not raw.startswith(TASK_PREFIX):
        raise MalformedIdError(f"Task ID: id value of incorrect type: {raw}")
    return full


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field, as `describe` shows it.

    `never_decreases` stands for a validation rule of an admin: a number that may stay or grow.
    """

    name: str
    type: FieldType = "string"
    length: int = 255
    precision: int = 18
    updateable: bool = True
    nillable: bool = True
    external_id: bool = False
    unique: bool = False
    never_decreases: bool = False

    def describe(self) -> dict[str, object]:
        """Return the entry of this field in `describe`."""
        is_text = self.type in {"id", "string"}
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c").replace("_", " "),
            "type": self.type,
            "length": self.length if is_text else 0,
            "precision": self.precision if self.type == "double" else 0,
            "scale": 0,
            "custom": self.name.endswith("__c"),
            "createable": self.updateable,
            "updateable": self.updateable,
            "nillable": self.nillable,
            "externalId": self.external_id,
            "unique": self.unique,
            "filterable": True,
        }


def task_fields(
    code_type: Literal["string", "double"] = "string", fence: str | None = None
) -> tuple[FieldSpec, ...]:
    """Return the default fields; `fence` adds a number field whose value must not decrease."""
    fields = [
        FieldSpec("Id", "id", length=18, updateable=False, nillable=False),
        FieldSpec("Subject"),
        FieldSpec("IsClosed", "boolean", updateable=False, nillable=False),
        FieldSpec("LastModifiedDate", "datetime", updateable=False, nillable=False),
        FieldSpec("SMS_Status__c", length=50),
        FieldSpec("SMS_Status_Code__c", code_type, length=10),
        FieldSpec("External_Id__c", length=64, external_id=True, unique=True),
    ]
    if fence is not None:
        fields.append(FieldSpec(fence, "double", never_decreases=True))
    return tuple(fields)


def wrong_json_type(spec: FieldSpec, value: object) -> ApiError:
    """A value of another JSON type fails the whole body, before any row is looked at."""
    token = {str: "VALUE_STRING", bool: "VALUE_TRUE", int: "VALUE_NUMBER_INT"}.get(type(value))
    token = token or {float: "VALUE_NUMBER_FLOAT", list: "START_ARRAY"}.get(
        type(value), "START_OBJECT"
    )
    return ApiError(
        400,
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {spec.type} from {token} value {value} "
        "or request may be missing a required field",
    )


def coerce(spec: FieldSpec, value: object) -> object:
    """Return the value as it is stored; raise ApiError for a wrong JSON type.

    Text is trimmed, and empty text is no value, as in Salesforce.
    """
    if value is None:
        return None
    if spec.type == "string" and isinstance(value, str):
        return value.strip() or None
    if spec.type == "double" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if spec.type == "boolean" and isinstance(value, bool):
        return value
    if spec.type == "datetime" and isinstance(value, str):
        return _datetime_text(spec, value)
    raise wrong_json_type(spec, value)


def check(spec: FieldSpec, value: object) -> RowError | None:
    """Return why a coerced value does not fit its field, or None."""
    label = spec.name.removesuffix("__c").replace("_", " ")
    if value is None and not spec.nillable:
        return RowError(
            "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{spec.name}]", (spec.name,)
        )
    if isinstance(value, str) and spec.type == "string" and len(value) > spec.length:
        return RowError(
            "STRING_TOO_LONG",
            f"{label}: data value too large: {value} (max length={spec.length})",
            (spec.name,),
        )
    if isinstance(value, float) and not abs(value) < 10.0**spec.precision:
        return RowError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{label}: value outside of valid range on numeric field: {value}",
            (spec.name,),
        )
    return None


def datetime_text(time_ms: int) -> str:
    """Format a time as Salesforce does: UTC, milliseconds, and `+0000`."""
    stamp = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}+0000"


def _datetime_text(spec: FieldSpec, value: str) -> str:
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        raise wrong_json_type(spec, value) from None
    if stamp.tzinfo is None:
        raise wrong_json_type(spec, value)
    return datetime_text(round(stamp.timestamp() * 1000))


class Schema:
    """The fields by name. Salesforce compares the names of fields without regard to case."""

    def __init__(self, fields: tuple[FieldSpec, ...]) -> None:
        self.fields = fields
        self.by_name: dict[str, FieldSpec] = {spec.name: spec for spec in fields}
        self._by_lower_name = {spec.name.lower(): spec for spec in fields}
        self.unique = frozenset(spec.name for spec in fields if spec.unique)
        self.never_decreases = tuple(spec.name for spec in fields if spec.never_decreases)

    def find(self, name: str) -> FieldSpec | None:
        """Return the field, or None where the Task has no such field."""
        return self.by_name.get(name) or self._by_lower_name.get(name.lower())

    def describe(self) -> Mapping[str, object]:
        """Return the body of `describe`."""
        return {
            "name": "Task",
            "label": "Task",
            "keyPrefix": TASK_PREFIX,
            "custom": False,
            "queryable": True,
            "retrieveable": True,
            "updateable": True,
            "fields": [spec.describe() for spec in self.fields],
        }

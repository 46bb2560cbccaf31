"""What of a status can be written to a field of the Task, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from processor.core.codes import CODES
from processor.core.events import MessageState

ATTRIBUTES: Final[Mapping[str, Callable[[MessageState], object]]] = {
    "category": lambda state: CODES[state.code].category.value,
    "code": lambda state: state.code,
    "description": lambda state: CODES[state.code].text,
    "final": lambda state: CODES[state.code].final,
    "event_time": lambda state: iso_utc(state.event_time),
    "message_id": lambda state: state.message_id,
    "version": lambda state: state.version,
}
"""Attribute name -> its value. `version` is for a fence in the org: it only ever grows."""

OF_THE_CODE: Final = frozenset(("category", "code", "description", "final"))
"""Attributes that are the same for every message with the same code."""


def values_of(state: MessageState, fields: Mapping[str, str]) -> dict[str, object]:
    """The values of a Task's fields, by a mapping of field name -> attribute name."""
    return {field: ATTRIBUTES[attribute](state) for field, attribute in fields.items()}


def iso_utc(at_ms: int) -> str:
    """Milliseconds since 1970 -> ISO 8601 in UTC with milliseconds, as Salesforce reads it."""
    seconds = datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()[:19]
    return f"{seconds}.{at_ms % 1000:03d}Z"

"""The state of a message <-> the value of the status topic (`schemas/delivery_status.avsc`).

The schema has no nullable fields: empty text stands for an id that is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from fastavro import schemaless_reader

from processor.core.codes import BY_DIGITS
from processor.core.events import MessageState, Outcome
from processor.errors import Rejected
from processor.kafka.avro.framing import (
    CONFLUENT_SIZE,
    confluent_id,
    prefix_of,
    single_object_prefix,
)
from processor.kafka.avro.registry import RegisteredSchema, Registry
from processor.kafka.avro.status_reader import status_reader
from processor.kafka.avro.status_writer import status_bytes
from processor.kafka.avro.value_reader import PAYS
from processor.kafka.avro.writer_schema import BROKEN, parse_reader, parse_writer

_UNUSED: Final = frozenset(("category", "description", "final", "event_time"))
"""Fields for other readers: ours follow from the code and the history."""

_OUTCOME_NAMES: Final = tuple(outcome.name.lower() for outcome in Outcome)
_OUTCOMES: Final = {name: Outcome(value) for value, name in enumerate(_OUTCOME_NAMES)}


class StatusCodec:
    """Encodes with our schema and decodes what it or any compatible one has written.

    `prefix`: the framing to write (`registry.prefix_for`). `registry`: to read what other
    versions of us have written; without one, `others` are the schemas they may have used.
    """

    def __init__(
        self,
        schema_text: str,
        prefix: bytes,
        registry: Registry | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self._prefix = prefix
        self._registry = registry
        self._reader = parse_reader(schema_text, _UNUSED)
        used = frozenset(field["name"] for field in self._reader["fields"])
        own = (parse_writer(schema_text, used).parsed, None)
        self._straight = status_reader(own[0])
        self._schemas: dict[bytes, tuple[Any, Any]] = {
            single_object_prefix(text): self._compile(RegisteredSchema(text)) for text in others
        }
        self._schemas[single_object_prefix(schema_text)] = own
        self._schemas[prefix] = own
        self._own = frozenset((prefix, single_object_prefix(schema_text)))

    def encode(self, state: MessageState) -> bytes:
        """The value, with its framing. `due_at` and `doubt_at` are not part of it."""
        return status_bytes(self._prefix, state)

    def decode(self, value: bytes) -> MessageState:
        """The state that a value holds. Raises Rejected (`empty_value`, `bad_magic`,
        `unknown_schema`, `bad_schema`, `undecodable`, `trailing_bytes`), Unavailable.
        """
        if not value:
            raise Rejected("empty_value")
        prefix = self._prefix if value.startswith(self._prefix) else prefix_of(value)
        schemas = self._schemas.get(prefix)
        if schemas is None:
            schemas = self._schemas[prefix] = self._fetch(prefix)
        if PAYS and prefix in self._own:
            state = self._straight.read(value, len(prefix))
            if state is not None:
                return state
        return _by_fastavro(value, len(prefix), schemas)

    def _fetch(self, prefix: bytes) -> tuple[Any, Any]:
        if len(prefix) != CONFLUENT_SIZE:
            raise Rejected("unknown_schema", f"fingerprint {prefix[2:].hex()} is of none of ours")
        if self._registry is None:
            raise Rejected("unknown_schema", "Confluent framing, and no Schema Registry is set")
        return self._compile(self._registry.schema(confluent_id(prefix)))

    def _compile(self, schema: RegisteredSchema) -> tuple[Any, Any]:
        """Writer and reader: all that the writer has is read, to be resolved to our schema."""
        raw = parse_writer(schema.text, None, schema.references)
        return raw.parsed, self._reader


def _by_fastavro(value: bytes, start: int, schemas: tuple[Any, Any]) -> MessageState:
    stream = BytesIO(value)
    stream.seek(start)
    try:
        state = _state_of(schemaless_reader(stream, *schemas))
    except BROKEN as error:
        raise Rejected("undecodable", type(error).__name__) from None
    if stream.tell() != len(value):
        raise Rejected("trailing_bytes", f"{len(value) - stream.tell()} bytes")
    return state


def _state_of(raw: Any) -> MessageState:
    history = {BY_DIGITS[digits]: at for digits, at in raw["history"].items()}
    settled = raw["settled"]
    code = raw["code"]
    if code not in history:
        raise LookupError(code)
    return MessageState(
        message_id=raw["message_id"],
        history=history,
        code=code,
        task_id=raw["task_id"] or None,
        task_at=raw["task_at"],
        account_id=raw["account_id"] or None,
        account_at=raw["account_at"],
        version=raw["version"],
        version_at=raw["version_at"],
        settled_version=settled["version"],
        settled_code=settled["code"],
        settled_at=settled["at"],
        settled_outcome=_OUTCOMES[settled["outcome"]],
    )

"""The Schema Registry: schema id -> text, and our own schemas -> ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeVar

import httpx2  # what confluent_kafka's client sends with, and whose errors it lets through
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

from processor.errors import ConfigError, Rejected, Unavailable
from processor.kafka.avro.framing import SchemaId, confluent_prefix, single_object_prefix
from processor.ports import Clock

DEFAULT_OPTIONS: Final[Mapping[str, object]] = {
    # The client has no timeout of its own, and waits up to 20 s between retries: too long for
    # a loop that must keep polling, and that asks again anyway.
    "timeout": 5,
    "max.retries": 1,
    "retries.wait.ms": 200,
}
GRACE_PAUSE_S: Final = 600.0  # from the end of one grace to the next
ASK_AGAIN_S: Final = 2.0  # during a grace
UNKNOWN_FOR_S: Final = 5.0  # how long an id that was given up is not asked for again
FORGET_S: Final = 600.0  # an id that was not asked for so long is as new as any other
MAX_UNKNOWN: Final = 100_000  # ids given up and remembered: more than a batch has events
MAX_LOOKUPS: Final = 100  # in a row, as one batch makes them; it can't be polled meanwhile
MAX_REPEATED: Final = 10  # of them for ids that were given up before
LOOKUP_PAUSE_S: Final = 1.0  # then
MAX_SCHEMA_ID: Final = 2**31 - 1  # ids are Java ints; a greater one is not an id
MAX_REFERENCES: Final = 64  # schemas that one schema may refer to, directly or not

_NOT_FOUND: Final = frozenset((40400, 40401, 40402, 40403))
"""The registry's own words for "no such schema". Any other 404 comes from something else, a
proxy or a wrong path, and must not turn a topic into dead letters."""

_FORBIDDEN: Final = frozenset((401, 403))
_REFUSED: Final = frozenset((409, 422))
_T = TypeVar("_T")


class RegisteredSchema(NamedTuple):
    """A schema's text, and those of the schemas it refers to, in an order that can be parsed."""

    text: str
    references: tuple[str, ...] = ()


class Registry:
    """A Schema Registry that speaks Confluent's API.

    **An id that it does not know (yet).** A schema is registered before its first event, but a
    replica of the registry may be late. So the first unknown id opens a grace of `grace_s`: it
    and every id that is met for the first time in it are Unavailable, and asked for again within
    seconds. After it they are given up: `unknown_schema`, asked for again now and then. The next
    grace can't open for `GRACE_PAUSE_S`, unless the last one was not in vain: broken events have
    any number for an id, and each would stop everything for as long. Until then an id that is not
    known is given up at once, and for `UNKNOWN_FOR_S`.

    **Lookups block**, and a batch of broken events can have a new id in each. After `MAX_LOOKUPS`
    in a row the next is Unavailable, for as long as it takes to poll. What was asked for is
    remembered, so the batch comes further each time; no id is given up that was not asked for,
    save beyond `MAX_UNKNOWN` of them.
    """

    def __init__(self, client: SchemaRegistryClient, clock: Clock, grace_s: float) -> None:
        self._client = client
        self._clock = clock
        self._grace_s = grace_s
        self._grace_ends_s = -math.inf
        self._awaited: set[SchemaId] = set()
        self._unknown: dict[SchemaId, float] = {}  # given up -> when to ask again; oldest first
        self._in_a_row = 0
        self._asked_s = -math.inf

    @classmethod
    def connect(
        cls, url: str, options: Mapping[str, object], clock: Clock, grace_s: float
    ) -> Registry:
        """Sends nothing yet. `options` are properties of confluent_kafka's SchemaRegistryClient;
        a `mock://` URL gives a registry in memory. Raises ConfigError for bad properties.
        """
        conf = {**DEFAULT_OPTIONS, **options, "url": url}
        try:
            return cls(SchemaRegistryClient.new_client(conf), clock, grace_s)
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(f"Schema Registry: {error}") from error

    def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """Raises Rejected (`unknown_schema`: there is no such id; `bad_schema`: it is not Avro),
        Unavailable.
        """
        now = self._clock.monotonic_s()
        if not self._may_ask(schema_id, now):
            raise _unknown(schema_id)
        try:
            schema = _ask(partial(self._get, schema_id))
            text = self._text(schema)
            references = tuple(self._references(schema, []))
        except _NotFoundError:
            self._give_up(schema_id, now)
            raise _unknown(schema_id) from None
        finally:
            self._asked_s = self._clock.monotonic_s()
        self._unknown.pop(schema_id, None)
        if schema_id in self._awaited:  # it was late: so may be the next
            self._awaited.clear()
            self._grace_ends_s = -math.inf
        if schema.schema_type not in (None, "AVRO"):
            raise Rejected("bad_schema", f"id {schema_id} is {schema.schema_type}, not AVRO")
        return RegisteredSchema(text, references)

    def _get(self, schema_id: SchemaId) -> Schema:
        if isinstance(schema_id, str):
            return self._client.get_schema_by_guid(schema_id)
        return self._client.get_schema(schema_id)

    def _may_ask(self, schema_id: SchemaId, now: float) -> bool:
        """False: it is unknown, for all we know. Raises Unavailable where it has to wait."""
        if isinstance(schema_id, int) and not 0 <= schema_id <= MAX_SCHEMA_ID:
            return False
        if now - self._asked_s >= LOOKUP_PAUSE_S:
            self._in_a_row = 0
        again = self._unknown.get(schema_id)
        if again is not None and (again > now or self._in_a_row >= MAX_REPEATED):
            return False
        if again is None and len(self._unknown) >= MAX_UNKNOWN:
            oldest = next(iter(self._unknown))
            if self._unknown[oldest] + FORGET_S > now:
                return False
            del self._unknown[oldest]
        if self._in_a_row >= MAX_LOOKUPS:
            raise Unavailable(
                f"more than {MAX_LOOKUPS} schema ids were asked for in a row", LOOKUP_PAUSE_S
            )
        self._in_a_row += 1
        return True

    def _give_up(self, schema_id: SchemaId, now: float) -> None:
        """The registry has no such id. Raises Unavailable while it may come yet."""
        if self._unknown.pop(schema_id, None) is None:
            if now >= self._grace_ends_s + GRACE_PAUSE_S:
                self._grace_ends_s = now + self._grace_s
                self._awaited.clear()
            if now < self._grace_ends_s:
                self._awaited.add(schema_id)
                raise Unavailable(
                    f"schema id {schema_id} is not in the registry yet: asked for again for "
                    f"seconds={self._grace_ends_s - now:.0f}, then its events are dead letters",
                    ASK_AGAIN_S,
                )
        self._unknown[schema_id] = now + UNKNOWN_FOR_S

    def register(self, subject: str, text: str) -> int:
        """The schema's id under the subject; registers it only where it is not there yet, so
        that reading rights are enough afterwards. Raises ConfigError where the registry refuses
        it, Unavailable.
        """
        found = self.look_up(subject, text)
        return self._register(subject, Schema(text, "AVRO")) if found is None else found

    def look_up(self, subject: str, text: str) -> int | None:
        """The schema's id under the subject; None: it is not there. Changes nothing.

        Raises Unavailable.
        """
        try:
            found = _ask(lambda: self._client.lookup_schema(subject, Schema(text, "AVRO")))
        except _NotFoundError:
            return None
        if not isinstance(found.schema_id, int):
            raise Unavailable("Schema Registry: an answer without an id")
        return found.schema_id

    def _register(self, subject: str, schema: Schema) -> int:
        try:
            schema_id = _ask(lambda: self._client.register_schema(subject, schema))
        except _RefusedError as error:
            raise ConfigError(f"the Schema Registry refuses {subject}: {error}") from error
        except _NotFoundError as error:
            raise Unavailable(f"Schema Registry: {error}") from error
        if not isinstance(schema_id, int):
            raise Unavailable("Schema Registry: an answer without an id")
        return schema_id

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _references(self, schema: Schema, seen: list[tuple[str, int]]) -> list[str]:
        texts: list[str] = []
        for reference in schema.references or ():
            key = (str(reference.subject), int(reference.version or 0))
            if key in seen:
                continue
            seen.append(key)
            if len(seen) > MAX_REFERENCES:
                raise Rejected("bad_schema", f"more than {MAX_REFERENCES} references")
            version = _ask(partial(self._client.get_version, *key))
            texts += [*self._references(version.schema, seen), self._text(version.schema)]
        return texts

    def _text(self, schema: Schema) -> str:
        text = schema.schema_str
        if not isinstance(text, str):
            # Else the client would give the same answer for ever.
            self._client.clear_caches()  # type: ignore[no-untyped-call]  # it has no hints
            raise Unavailable("Schema Registry: an answer without a schema")
        return text


def _unknown(schema_id: SchemaId) -> Rejected:
    return Rejected("unknown_schema", f"id {schema_id} is not in the registry")


def prefix_for(schema_text: str, topic: str, registry: Registry | None, *, register: bool) -> bytes:
    """The framing of values that we write to a topic: Confluent's where there is a registry, else
    single-object encoding. The schema has to be there as `<topic>-value`, unless we may `register`
    it: a registry's subjects belong to whoever runs it.

    Raises ConfigError, Unavailable.
    """
    if registry is None:
        return single_object_prefix(schema_text)
    subject = f"{topic}-value"
    if register:
        return confluent_prefix(registry.register(subject, schema_text))
    schema_id = registry.look_up(subject, schema_text)
    if schema_id is None:
        raise ConfigError(
            f"the Schema Registry does not have our schema under the subject {subject}: run "
            "`processor schemas register` once, or set PROCESSOR_SCHEMA_REGISTRY__REGISTER=true"
        )
    return confluent_prefix(schema_id)


def register_schemas(registry: Registry, schemas: Mapping[str, str]) -> list[str]:
    """Register a schema text for each topic's values. One line each, fit to be shown.

    Raises ConfigError where the registry refuses one, Unavailable.
    """
    ids = {
        f"{topic}-value": registry.register(f"{topic}-value", schemas[topic]) for topic in schemas
    }
    return [f"{subject}: schema id {schema_id}" for subject, schema_id in ids.items()]


class _NotFoundError(Exception):
    """The registry answered that there is no such schema."""


class _RefusedError(Unavailable):
    """The registry answered that it won't take what it was sent."""


def _ask(request: Callable[[], _T]) -> _T:
    try:
        return request()
    except SchemaRegistryError as error:
        if error.http_status_code == httpx2.codes.NOT_FOUND and error.error_code in _NOT_FOUND:
            raise _NotFoundError(str(error)) from error
        if error.http_status_code in _REFUSED:
            raise _RefusedError(str(error)) from error
        hint = " (check its credentials)" if error.http_status_code in _FORBIDDEN else ""
        raise Unavailable(f"Schema Registry: {error}{hint}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OAuthTokenError) as error:
        raise Unavailable(f"Schema Registry: {type(error).__name__}: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # The client trips over an answer that is not a registry's, such as a proxy's page.
        raise Unavailable(f"Schema Registry: {type(error).__name__}: {error}") from error

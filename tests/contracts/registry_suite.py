"""What must hold on any Schema Registry: run on the client's own mock, and on a real one.

A subclass whose name begins with `Test` gives the fixture `registry_url`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference

from processor.core.events import DeliveryEvent, MessageState, Outcome
from processor.errors import ConfigError, Rejection, Unavailable
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.framing import confluent_prefix, single_object_prefix
from processor.kafka.avro.registry import (
    Registry,
    prefix_for,
    register_schemas,
)
from processor.kafka.avro.status_codec import StatusCodec
from tests.kafka.avro.avro_kit import (
    EVENT_SCHEMA,
    NOW,
    STATUS_SCHEMA,
    Record,
    report,
    schema,
    write,
)
from tests.support.clocks import HandTurnedClock
from tests.support.parts import GRACE_S, framed_decoder

NOBODY = 2_000_000_000  # an id that no registry has given


@pytest.fixture
def clock() -> HandTurnedClock:
    return HandTurnedClock()


@pytest.fixture
def registry(registry_url: str, clock: HandTurnedClock) -> Iterator[Registry]:
    registry = Registry.connect(registry_url, {}, clock, GRACE_S)
    yield registry
    registry.close()


@pytest.fixture
def topic() -> str:
    """A topic of the test's own: a real registry remembers."""
    return f"t{uuid.uuid4().hex}"


def decoder_of(registry: Registry) -> AvroDecoder:
    return framed_decoder(registry)


def registered(text: str, topic: str, registry: Registry) -> bytes:
    return prefix_for(text, topic, registry, register=True)


def outcome(item: DeliveryEvent | Rejection) -> object:
    return item.reason if isinstance(item, Rejection) else item.code


class RegistryContract:
    """The cases. `registry_url` comes from the subclass."""

    def test_registering_twice_gives_the_same_id(self, registry: Registry, topic: str) -> None:
        prefix = registered(EVENT_SCHEMA, topic, registry)
        assert prefix[:1] == b"\x00"
        assert registered(EVENT_SCHEMA, topic, registry) == prefix

    def test_nothing_is_registered_unless_it_is_asked_for(
        self, registry: Registry, topic: str
    ) -> None:
        subject = f"{topic}-value"
        assert registry.look_up(subject, EVENT_SCHEMA) is None
        with pytest.raises(ConfigError, match=rf"{subject}: run `processor schemas register`"):
            prefix_for(EVENT_SCHEMA, topic, registry, register=False)
        assert subject not in registry._client.get_subjects()

        prefix = registered(EVENT_SCHEMA, topic, registry)
        assert prefix_for(EVENT_SCHEMA, topic, registry, register=False) == prefix
        assert registry.look_up(subject, STATUS_SCHEMA) is None

    def test_register_schemas_tells_the_subjects(self, registry: Registry, topic: str) -> None:
        lines = register_schemas(registry, {f"{topic}e": EVENT_SCHEMA, f"{topic}s": STATUS_SCHEMA})
        assert [line.split(": schema id ")[0] for line in lines] == [
            f"{topic}e-value",
            f"{topic}s-value",
        ]

    def test_both_framings_are_read_side_by_side(self, registry: Registry, topic: str) -> None:
        confluent = write(EVENT_SCHEMA, report(), registered(EVENT_SCHEMA, topic, registry))
        single = write(EVENT_SCHEMA, report(), single_object_prefix(EVENT_SCHEMA))
        events = decoder_of(registry).decode([Record(v) for v in (confluent, single) * 2])
        assert events == [DeliveryEvent("m", 220, NOW - 10, NOW, "00T1", "a")] * 4

    def test_a_producers_own_schema_is_fetched_by_its_id(
        self, registry: Registry, topic: str
    ) -> None:
        theirs = schema(
            ("error_code", "string"),
            ("more", {"type": "array", "items": "double"}),
            ("message_id", "string"),
            ("date_received", {"type": "long", "logicalType": "timestamp-micros"}),
        )
        prefix = confluent_prefix(registry.register(f"{topic}-value", theirs))
        value = {"error_code": "402", "more": [1.5], "message_id": "m", "date_received": 0}
        value["date_received"] = (NOW - 10) * 1000 + 999
        [event] = decoder_of(registry).decode([Record(write(theirs, value, prefix))])
        assert event == DeliveryEvent("m", 402, NOW - 10, NOW, None, None)

    def test_an_unknown_id_is_rejected_alone(
        self, registry: Registry, clock: HandTurnedClock, topic: str
    ) -> None:
        good = write(EVENT_SCHEMA, report(), registered(EVENT_SCHEMA, topic, registry))
        values = [good, confluent_prefix(NOBODY) + good[5:], b"\0\xff\xff\xff\xff" + good[5:], good]
        decoder, records = decoder_of(registry), [Record(value) for value in values]
        with pytest.raises(Unavailable, match="not in the registry yet"):
            decoder.decode(records)
        clock.seconds += GRACE_S
        events = decoder.decode(records)
        assert [outcome(e) for e in events] == [220, "unknown_schema", "unknown_schema", 220]

    def test_a_schema_may_be_named_by_its_guid_in_a_header(
        self, registry: Registry, topic: str
    ) -> None:
        schema_id = registry.register(f"{topic}-value", EVENT_SCHEMA)
        found = registry._client.lookup_schema(f"{topic}-value", Schema(EVENT_SCHEMA, "AVRO"))
        if found.guid is None:
            pytest.skip("this registry has no GUIDs")
        named = ("__value_schema_id", b"\1" + uuid.UUID(found.guid).bytes)
        bare = write(EVENT_SCHEMA, report())
        framed = write(EVENT_SCHEMA, report(), confluent_prefix(schema_id))
        events = decoder_of(registry).decode([Record(bare, own=[named]), Record(framed)] * 2)
        assert [outcome(event) for event in events] == [220] * 4

    def test_a_schema_may_refer_to_others(self, registry: Registry, topic: str) -> None:
        account = schema(("account_id", "string"), name="Account")
        registry.register(f"{topic}-account", account)
        text = schema(
            ("message_id", "string"), ("status_code", "int"), ("vendor_account_id", "Account")
        )
        reference = SchemaReference("Account", f"{topic}-account", 1)
        schema_id = registry._client.register_schema(
            f"{topic}-value", Schema(text, "AVRO", references=[reference])
        )
        whole = text.replace('"Account"', account)
        value = {"message_id": "m", "status_code": 220, "vendor_account_id": {"account_id": "a"}}
        [event] = decoder_of(registry).decode(
            [Record(write(whole, value, confluent_prefix(schema_id)))]
        )
        assert event == DeliveryEvent("m", 220, NOW, NOW, None, "a")

    def test_a_status_comes_back_in_another_process(self, registry: Registry, topic: str) -> None:
        state = MessageState(
            "m", {101: NOW - 5, 220: NOW}, 220, "00T1", NOW, None, 0, 2, NOW,
            1, 101, NOW, Outcome.WRITTEN,
        )  # fmt: skip
        prefix = registered(STATUS_SCHEMA, topic, registry)
        value = StatusCodec(STATUS_SCHEMA, prefix, registry).encode(state)
        assert value.startswith(prefix)
        assert StatusCodec(STATUS_SCHEMA, prefix, registry).decode(value) == state
        elsewhere = StatusCodec(STATUS_SCHEMA, single_object_prefix(STATUS_SCHEMA), registry)
        assert elsewhere.decode(value) == state

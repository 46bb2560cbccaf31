"""A header whose name is not UTF-8, on a record as the client really hands it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from processor.commands.produce.events import EventEncoder
from processor.errors import Rejection
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.dead_letters import PREFIX, of_record
from processor.kafka.headers import UNREADABLE, headers_of
from processor.ports import DeadLetter, RawRecord
from processor.sandbox.servers.broker import InProcessBroker
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, report
from tests.support.parts import framed_decoder
from tests.support.raw_headers import produce_raw

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the client's library has another name elsewhere"
)
BAD_NAME = b"\xff\xfe"
GOOD = EventEncoder(EVENT_SCHEMA, single_object_prefix(EVENT_SCHEMA)).encode(
    report(date_received=None, submitted_date=None)  # ordered by its record: headers are read
)


@pytest.fixture
def servers() -> Iterator[str]:
    with InProcessBroker() as broker:
        yield broker.bootstrap_servers


def on_the_broker(servers: str, topic: str, value: bytes, *headers: tuple[bytes, bytes]) -> Message:
    """The one record of a topic that is given it."""
    produce_raw(servers, topic, b"key", value, headers)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
    [message] = consumer.consume(1, timeout=20)
    consumer.close()
    return message


def test_a_dead_letter_goes_without_the_headers_and_says_so(servers: str) -> None:
    message = on_the_broker(servers, "t", b"poison", (b"ok", b"1"), (BAD_NAME, b"2"))
    record = cast("RawRecord", message)
    letter = of_record(DeadLetter("decode", "bad_magic", "", 0, record=record), record, 10_000)
    names = [name for name, _ in letter.headers]
    assert names[0] == UNREADABLE
    assert f"{PREFIX}exception.class.name" in names
    assert (letter.key, letter.value) == (b"key", b"poison")
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    headers: Any = letter.headers
    producer.produce("letters", letter.value, letter.key, headers=headers)
    assert producer.flush(20) == 0


def test_whoever_asks_again_gets_the_same(servers: str) -> None:
    """The client itself would end the process: it hands out a list with a hole."""
    record = cast("RawRecord", on_the_broker(servers, "t", b"poison", (BAD_NAME, b"2")))
    for _ in range(3):
        [(name, why)] = headers_of(record)
        assert name == UNREADABLE
        assert why is not None
        assert b"UnicodeDecodeError" in why


def test_an_event_is_decoded_whatever_its_headers_are_called(servers: str) -> None:
    message = on_the_broker(servers, "t", GOOD, (BAD_NAME, b"2"))
    decoder = framed_decoder()
    [event] = decoder.decode([cast("RawRecord", message)])
    assert not isinstance(event, Rejection)
    assert event.code == 220


def test_headers_that_can_be_read_stay_as_they_are(servers: str) -> None:
    message = on_the_broker(servers, "t", b"poison", (b"a", b"1"), ("ü".encode(), b""))
    assert headers_of(cast("RawRecord", message)) == [("a", b"1"), ("ü", b"")]

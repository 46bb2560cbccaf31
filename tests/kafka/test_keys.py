"""Noticing events that are not keyed by message id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from processor.core.events import DeliveryEvent
from processor.core.report.fields import Oddities
from processor.errors import Rejection
from processor.kafka.keys import LOOKED_AT, KeyWatch
from processor.kafka.partitioners import HASHES
from processor.ports import RawRecord
from tests.support.log_lines import line_of

PARTITIONS = 6


class Keyed(NamedTuple):
    """A record of which key and partition are looked at. `message`: what it decodes to."""

    raw_key: bytes | None
    message: str | None
    number: int = 3

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return self.number

    def offset(self) -> int | None:
        return 41

    def key(self) -> bytes | None:
        return self.raw_key

    def value(self) -> bytes | None:
        return b""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


class Reading:
    """A decoder that is told by the records what they are."""

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        events: list[DeliveryEvent | Rejection] = []
        for record in records:
            assert isinstance(record, Keyed)
            if record.message is None:
                events.append(Rejection("undecodable"))
            else:
                events.append(DeliveryEvent(record.message, 220, 0, 0, None, None))
        return events

    def take_oddities(self) -> Oddities:
        return Oddities()


@pytest.mark.parametrize(
    ("key", "message", "odd"),
    [
        (b"m", "m", 0),
        ("né".encode(), "né", 0),
        (b"another", "m", 1),
        (b'"m"', "m", 1),
        (b"", "m", 1),
        (None, "m", 1),
        (None, None, 0),
        (b"another", None, 0),
    ],
)
def test_a_usable_event_with_another_key_is_counted(
    key: bytes | None, message: str | None, odd: int
) -> None:
    stats = Oddities()
    (event,) = KeyWatch(Reading(), stats, PARTITIONS).decode([Keyed(key, message)])
    assert isinstance(event, Rejection) is (message is None)
    assert stats.keys_not_message_id == odd


def test_only_the_first_usable_events_of_a_batch_are_looked_at() -> None:
    stats = Oddities()
    watch = KeyWatch(Reading(), stats, PARTITIONS)
    unusable = [Keyed(None, None)] * 50
    assert len(watch.decode([*unusable, *[Keyed(b"x", "m")] * 100])) == 150
    assert stats.keys_not_message_id == LOOKED_AT
    watch.decode([*[Keyed(b"m", "m")] * LOOKED_AT, Keyed(b"x", "m")])
    assert stats.keys_not_message_id == LOOKED_AT


def test_it_warns_once_and_names_the_place_and_not_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = KeyWatch(Reading(), Oddities(), 1)
    with caplog.at_level(logging.WARNING):
        watch.decode([Keyed(b"m", "m", 0)])
        assert caplog.records == []
        for _ in range(3):
            watch.decode([Keyed(b"+61491570156", "m", 0)] * 5)
    (told,) = caplog.records
    text = line_of(told)
    assert "partition=0 offset=41" in text
    assert "processor rekey" in text
    assert "61491570156" not in text


def sent_with(partitioner: str, *messages: str) -> list[Keyed]:
    """As a producer with this partitioner puts them."""
    hashed = HASHES[partitioner]
    return [Keyed(m.encode(), m, hashed(m.encode()) % PARTITIONS) for m in messages]


MESSAGES = [f"message {number}" for number in range(LOOKED_AT)]


@pytest.mark.parametrize("partitioner", HASHES)
def test_producers_that_choose_alike_are_not_counted(partitioner: str) -> None:
    stats = Oddities()
    KeyWatch(Reading(), stats, PARTITIONS).decode(sent_with(partitioner, *MESSAGES))
    assert stats == Oddities()


def test_a_producer_that_chooses_differently_is_counted_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stats = Oddities()
    watch = KeyWatch(Reading(), stats, PARTITIONS)
    usual, other = sent_with("murmur2_random", *MESSAGES), sent_with("consistent_random", *MESSAGES)
    apart = sum(one.number != two.number for one, two in zip(usual, other, strict=True))
    with caplog.at_level(logging.WARNING):
        for batch in (usual, usual, other, usual):
            watch.decode(batch)
    assert stats == Oddities(keys_elsewhere=apart)
    assert apart > 10
    (told,) = caplog.records
    assert "not in the partition of their key" in told.getMessage()
    assert " topic=events partition=" in line_of(told)


def test_events_from_before_the_topic_grew_are_counted() -> None:
    stats = Oddities()
    watch = KeyWatch(Reading(), stats, PARTITIONS + 2)
    watch.decode(sent_with("murmur2_random", *MESSAGES))
    assert stats.keys_elsewhere > 10


def test_a_record_without_a_key_may_be_anywhere() -> None:
    stats = Oddities()
    records = [Keyed(None, "m", number) for number in range(PARTITIONS)]
    KeyWatch(Reading(), stats, PARTITIONS).decode(records)
    assert stats == Oddities(keys_not_message_id=PARTITIONS)


def test_with_one_partition_every_key_is_in_its_place() -> None:
    stats = Oddities()
    KeyWatch(Reading(), stats, 1).decode([Keyed(m.encode(), m, 0) for m in MESSAGES])
    assert stats == Oddities()


def test_what_is_taken_was_counted_since_it_was_taken_last() -> None:
    watch = KeyWatch(Reading(), Oddities(), PARTITIONS)
    records = [Keyed(b"x", "m", number) for number in range(PARTITIONS)]
    for _ in range(2):
        watch.decode(records)
        assert watch.take_oddities().keys_not_message_id == PARTITIONS
    assert watch.take_oddities() == Oddities()

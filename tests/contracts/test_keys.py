"""Noticing events that are not keyed by message id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from processor.core.events import DeliveryEvent
from processor.core.report import DecodeStats
from processor.errors import Rejected
from processor.kafka.keys import LOOKED_AT, KeyWatch
from processor.ports import RawRecord


class Keyed(NamedTuple):
    """A record of which only the key is looked at. `message`: what it decodes to."""

    raw_key: bytes | None
    message: str | None

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return 3

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

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejected]:
        events: list[DeliveryEvent | Rejected] = []
        for record in records:
            assert isinstance(record, Keyed)
            if record.message is None:
                events.append(Rejected("undecodable"))
            else:
                events.append(DeliveryEvent(record.message, 220, 0, 0, None, None))
        return events


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
    stats = DecodeStats()
    (event,) = KeyWatch(Reading(), stats).decode([Keyed(key, message)])
    assert isinstance(event, Rejected) is (message is None)
    assert stats.keys_not_message_id == odd


def test_only_the_first_usable_events_of_a_batch_are_looked_at() -> None:
    stats = DecodeStats()
    watch = KeyWatch(Reading(), stats)
    unusable = [Keyed(None, None)] * 50
    assert len(watch.decode([*unusable, *[Keyed(b"x", "m")] * 100])) == 150
    assert stats.keys_not_message_id == LOOKED_AT
    watch.decode([*[Keyed(b"m", "m")] * LOOKED_AT, Keyed(b"x", "m")])
    assert stats.keys_not_message_id == LOOKED_AT


def test_it_warns_once_and_names_the_place_and_not_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = KeyWatch(Reading(), DecodeStats())
    with caplog.at_level(logging.WARNING):
        watch.decode([Keyed(b"m", "m")])
        assert caplog.records == []
        for _ in range(3):
            watch.decode([Keyed(b"+61491570156", "m")] * 5)
    (told,) = caplog.records
    text = told.getMessage()
    assert "partition=3 offset=41" in text
    assert "processor rekey" in text
    assert "61491570156" not in text

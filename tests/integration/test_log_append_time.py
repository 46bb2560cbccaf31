"""Event time on a topic whose timestamps are the broker's (docs/event-time.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import Producer

from processor.commands.produce.events import EventEncoder
from processor.core.collapse import resolve
from processor.core.events import DeliveryEvent
from processor.core.report.fields import Oddities
from processor.errors import Rejection
from processor.kafka.avro.framing import single_object_prefix
from tests.integration.kit import PATIENCE_S, Kafka, Member, Names
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, report
from tests.support.parts import framed_decoder

pytestmark = pytest.mark.kafka

LONG_AGO = 1_577_836_800_000  # 2020-01-01
FAR_AWAY = 4_070_908_800_000  # 2099-01-01


@pytest.fixture
def names(cluster: Kafka, topics: Callable[..., Names]) -> Names:
    names = topics(1)._replace(events=f"appended-{time.time_ns()}")
    cluster.create(names.events, 1, {"message.timestamp.type": "LogAppendTime"})
    return names


def sent_and_read(
    cluster: Kafka, member: Callable[..., Member], names: Names, reports: Sequence[dict[str, Any]]
) -> tuple[list[DeliveryEvent | Rejection], Oddities]:
    """Each produced with a timestamp of long ago."""
    encoder = EventEncoder(EVENT_SCHEMA, single_object_prefix(EVENT_SCHEMA))
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    for one in reports:
        producer.produce(names.events, encoder.encode(one), b"m", timestamp=LONG_AGO)
        assert producer.flush(PATIENCE_S) == 0
        time.sleep(0.005)  # so that no two are appended in one millisecond
    stats = Oddities()
    decoder = framed_decoder(oddities=stats)
    return decoder.decode(member(names).join(0).start().read(len(reports))), stats


def history(events: Sequence[DeliveryEvent | Rejection]) -> dict[int, int]:
    found: dict[int, int] = {}
    for event in events:
        assert isinstance(event, DeliveryEvent)
        found[event.code] = max(event.event_time, found.get(event.code, 0))
    return found


def test_stamps_order_events_whatever_the_broker_puts_on_the_record(
    cluster: Kafka, member: Callable[..., Member], names: Names
) -> None:
    began = time.time_ns() // 1_000_000
    stamps = {200: LONG_AGO + 2, 102: LONG_AGO + 1, 402: LONG_AGO}
    events, stats = sent_and_read(
        cluster,
        member,
        names,
        [report(status_code=code, date_received=at) for code, at in stamps.items()],
    )
    assert history(events) == stamps
    assert resolve(history(events)) == 200
    assert all(isinstance(e, DeliveryEvent) and e.record_time >= began for e in events)
    assert stats == Oddities()


def test_without_stamps_and_with_stamps_in_the_future_the_append_time_orders_events(
    cluster: Kafka, member: Callable[..., Member], names: Names
) -> None:
    began = time.time_ns() // 1_000_000
    events, stats = sent_and_read(
        cluster,
        member,
        names,
        [
            report(status_code=402, date_received=FAR_AWAY),
            report(status_code=102, date_received=None, submitted_date=None),
            report(status_code=200, date_received=0, submitted_date=None),
        ],
    )
    times = [history(events)[code] for code in (402, 102, 200)]
    assert times == sorted(times)
    assert began <= times[0] < times[-1] <= time.time_ns() // 1_000_000
    assert resolve(history(events)) == 200
    assert stats == Oddities(stamps_unusable=1, stamps_missing=2, stamps_future=1)

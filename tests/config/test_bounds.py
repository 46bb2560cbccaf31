"""What the settings let pass, the libraries take: every number at its least and at its most.

A value is either refused where it is read, by name, or the parts that it goes to can be made with
it. The libraries have bounds of their own, most of them told by an error at the first call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer
from confluent_kafka.cimpl import NewTopic
from prometheus_client import CollectorRegistry
from urllib3.util.timeout import Timeout

from processor.commands import compose
from processor.config.load import load_settings
from processor.config.schema import known_settings
from processor.config.settings import Settings
from processor.core.due import reclaim
from processor.core.events import Change
from processor.errors import ConfigError
from processor.kafka.source import KafkaSource
from processor.runtime.http import HttpServer
from processor.salesforce.writer import WriterSettings, window_of
from processor.store.store import LmdbStore
from tests.contracts.test_store import StoppedClock
from tests.support.states import NOW, state

MAX_INT32: Final = 2**31 - 1
ALONE: Final = frozenset(
    "BATCH__MAX_RECORDS BATCH__CATCH_UP_MAX_RECORDS BATCH__TIMEOUT_S STATE__MAP_LIMIT_BYTES "
    "SALESFORCE__REQUESTS_IN_FLIGHT HTTP__PORT".split()
)
"""Of which either end is no contradiction to another setting's default."""


def ends() -> Iterator[tuple[str, float]]:
    for name, entry in known_settings().items():
        if entry["type"] in {"integer", "number"}:
            yield name, entry["minimum"]
            yield name, entry["maximum"]


def given(name: str, value: float) -> dict[str, str]:
    beside = {
        "BATCH__MAX_RECORDS": {"BATCH__CATCH_UP_MAX_RECORDS": "1000000"},
        "BATCH__CATCH_UP_MAX_RECORDS": {"BATCH__MAX_RECORDS": "1"},
    }
    text = f"{value:.15g}"
    return {"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", **beside.get(name, {}), name: text}


@pytest.mark.parametrize(("name", "value"), list(ends()))
def test_a_bound_is_one_that_the_libraries_take(name: str, value: float, tmp_path: Path) -> None:
    try:
        settings = load_settings(
            None, {f"PROCESSOR_{key}": text for key, text in given(name, value).items()}
        )
    except ConfigError as refused:
        told = str(refused)
    else:
        told = ""
        reads(settings)
        keeps(settings, tmp_path)
        writes(settings)
        watches(settings)
    assert not told or (f"PROCESSOR_{name}" in told and name not in ALONE)


def reads(settings: Settings) -> None:
    kafka, batch = settings.kafka, settings.batch
    source = KafkaSource(
        "127.0.0.1:1",
        "group",
        "events",
        options=kafka.options,
        group_protocol=kafka.group_protocol,
        session_timeout_ms=kafka.session_timeout_ms,
    )
    for records in (batch.max_records, batch.catch_up_max_records):
        assert source.poll(records, 0.0) == {}
    source.close()
    assert batch.timeout_s * 1000 <= MAX_INT32  # or it wraps around, inside the client
    NewTopic("events", kafka.events_partitions or 1, 1)
    assert compose.rules(settings).retention_ms > 0


def keeps(settings: Settings, directory: Path) -> None:
    rules, limit = compose.rules(settings), settings.state.map_limit_bytes
    store = LmdbStore(
        directory,
        "topic",
        clock=StoppedClock(NOW),
        delete_retention_ms=10**9,
        map_bytes=limit,
        map_limit_bytes=limit,
    )
    store.open(0)
    owed = state("m", due=NOW)
    store.put_many(0, [Change(None, owed), Change(owed, reclaim(owed, NOW, rules))], checkpoint=1)
    later = NOW + max(rules.failure_hold_ms, rules.unknown_after_ms, rules.give_up_after_ms)
    store.put_many(0, [Change(None, state("n", due=later))])
    assert store.count() == 2
    assert store.expired(0, NOW - rules.retention_ms, 10) == []
    store.close(0)


def writes(settings: Settings) -> None:
    org = settings.salesforce
    connect, answer = org.request_timeouts_s
    Timeout(connect=connect, read=answer)
    assert answer < threading.TIMEOUT_MAX
    window = window_of(org.requests_in_flight)
    WriterSettings(window, org.linger_s, org.requests_in_flight)
    waited(org.linger_s)
    waited(org.settle_interval_s)


def watches(settings: Settings) -> None:
    waited(settings.worker.revoke_deadline_s)
    waited(settings.worker.shutdown_deadline_s)
    waited(settings.http.health_limit_s)
    probes: Any = [lambda: (True, "")] * 2
    HttpServer("127.0.0.1", settings.http.port, CollectorRegistry(), *probes).close()


def waited(seconds: float) -> None:
    """What a thread does with a time, though it is told at once to stop."""
    told = threading.Event()
    told.set()
    assert told.wait(seconds)
    timer = threading.Timer(seconds or 1, told.set)
    timer.start()
    timer.cancel()
    timer.join()


def test_the_clients_limit_is_the_settings() -> None:
    consumer = Consumer({"group.id": "none", "log_level": 0})
    with pytest.raises(ValueError, match="1000000"):
        consumer.consume(1_000_001, 0)
    consumer.close()

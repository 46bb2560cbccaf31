"""Topics that are gone, and a Kafka that does not answer: found out, and told in time."""

from __future__ import annotations

import logging

import pytest

from processor.kafka.group.offsets import LAG_STALE_S, LogEnds
from processor.kafka.topics import watch as topic_watch
from processor.kafka.topics.watch import GONE_GRACE_S, INTERVAL_S, TopicWatch
from tests.integration.kit import Kafka, until
from tests.support.clocks import HandTurnedClock

pytestmark = pytest.mark.kafka

NOWHERE = "127.0.0.1:1"


def asked(watch: TopicWatch, clock: HandTurnedClock) -> str:
    """What it says once an answer has come."""
    clock.seconds += INTERVAL_S
    return watch.changed_by_now()


def test_a_topic_that_is_gone_for_a_minute_stops_the_process_with_what_to_do(
    cluster: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    names, clock = cluster.topics(2), HandTurnedClock()
    identity = cluster.identity(names.events)
    watch = TopicWatch(cluster.bootstrap_servers, {}, {names.events: identity}, clock.monotonic_s)
    assert watch.silent_s() == float("inf")
    assert asked(watch, clock) == ""
    assert (watch.gone(), watch.silent_s()) == ([], 0)

    cluster.delete(names.events)
    until(lambda: asked(watch, clock) == "" and watch.gone())
    began = clock.seconds
    while clock.seconds < began + GONE_GRACE_S - INTERVAL_S:
        assert asked(watch, clock) == ""
    said = asked(watch, clock)
    assert f"topic {names.events} does not exist any more" in said
    assert "make the topic anew with as many partitions" in said
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_topic_that_is_back_is_not_gone(cluster: Kafka) -> None:
    names, clock = cluster.topics(2), HandTurnedClock()
    watch = TopicWatch(cluster.bootstrap_servers, {}, {names.events: "id"}, clock.monotonic_s)
    cluster.delete(names.events)
    until(lambda: asked(watch, clock) == "" and watch.gone())
    cluster.create(names.events, 2)
    until(lambda: "made again" in asked(watch, clock))
    assert watch.gone() == []


def test_a_kafka_that_does_not_answer_is_silent_and_no_topic_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topic_watch, "REQUEST_TIMEOUT_S", 0.5)
    clock = HandTurnedClock()
    watch = TopicWatch(NOWHERE, {}, {"events": "id"}, clock.monotonic_s)
    for _ in range(3):
        assert asked(watch, clock) == ""
    assert (watch.gone(), watch.silent_s()) == ([], float("inf"))


def test_an_end_that_was_told_long_ago_says_nothing_of_the_lag(cluster: Kafka) -> None:
    names, clock = cluster.topics(1), HandTurnedClock()
    cluster.produce(names.events, 0, [b"1", b"2"])
    ends = LogEnds(cluster.bootstrap_servers, {}, names.events, clock.monotonic_s)
    assert ends.silent_s() == float("inf")
    until(lambda: ends.latest({0}) == {0: 2})
    assert ends.silent_s() == 0
    clock.seconds += LAG_STALE_S
    assert (ends.latest({0}), ends.silent_s()) == ({}, LAG_STALE_S)
    until(lambda: ends.latest({0}) == {0: 2})

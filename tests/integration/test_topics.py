"""The topics are made as they must be, and refused where they are not."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin._config import ConfigResource

from processor.errors import ConfigError, Unavailable
from processor.kafka.topics import topics as topics_module
from processor.kafka.topics.rules import HEADROOM_BYTES, Found, judge
from processor.kafka.topics.topics import DELETE_RETENTION_MS, Topics
from tests.integration.kit import Broker, Kafka
from tests.support.parts import RETENTION_MS, topics
from tests.support.patience import patient

pytestmark = pytest.mark.kafka

Make = Callable[..., Topics]


@pytest.fixture
def names() -> tuple[str, str, str]:
    unique = uuid.uuid4().hex[:8]
    return f"e-{unique}", f"s-{unique}", f"d-{unique}"


@pytest.fixture
def house(kafka: Broker, names: tuple[str, str, str]) -> Make:
    def make(**options: Any) -> Topics:
        return topics(kafka.bootstrap_servers, *names, **options)

    return make


def settings(cluster: Kafka, topic: str) -> dict[str, str | None]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    (answer,) = cluster.admin.describe_configs([resource]).values()
    return {name: entry.value for name, entry in answer.result(patient(10)).items()}


def test_missing_topics_are_made_with_the_partitions_of_the_events_topic(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    events, status, dead = names
    cluster.create(events, 3, {"max.message.bytes": "2000000"})
    facts = house().ensure()
    assert facts.partitions == 3
    found = cluster.admin.list_topics(timeout=patient(10)).topics
    assert [len(found[name].partitions) for name in names] == [3, 3, 3]
    assert settings(cluster, status)["cleanup.policy"] == "compact"
    assert facts.delete_retention_ms == DELETE_RETENTION_MS
    assert facts.dead_letter_max_bytes == 2_000_000 + HEADROOM_BYTES
    assert settings(cluster, dead)["max.message.bytes"] == str(facts.dead_letter_max_bytes)
    assert house().ensure() == facts
    assert all(finding.ok for finding in house().check())


def test_the_events_topic_is_made_only_where_its_partitions_are_set(
    names: tuple[str, str, str], house: Make
) -> None:
    with pytest.raises(ConfigError, match=r"missing. Create it: kafka-topics.sh .*--create"):
        house().ensure()
    assert [(f.ok, f.fatal) for f in house().check()] == [(False, True)]
    assert [(f.ok, f.fatal) for f in house(events_partitions=4).check()] == [(True, False)]
    assert house(events_partitions=4).ensure().partitions == 4


def test_a_status_topic_with_another_partition_count_is_refused(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    events, status, _ = names
    cluster.create(events, 3)
    cluster.create(status, 2, {"cleanup.policy": "compact"})
    with pytest.raises(ConfigError, match=r"has 2 partitions and .* has 3: they must be equal"):
        house().ensure()


@pytest.mark.parametrize("policy", ["delete", "compact,delete", "delete,compact"])
def test_a_status_topic_that_forgets_is_refused(
    cluster: Kafka, names: tuple[str, str, str], house: Make, policy: str
) -> None:
    events, status, _ = names
    cluster.create(events, 1)
    cluster.create(status, 1, {"cleanup.policy": policy})
    with pytest.raises(ConfigError, match=r"set cleanup\.policy=compact"):
        house().ensure()


def test_a_small_dead_letter_topic_is_named_and_used(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    events, _, dead = names
    cluster.create(events, 1)
    cluster.create(dead, 1, {"max.message.bytes": "1000", "retention.ms": "-1"})
    assert house().ensure().dead_letter_max_bytes == 1_000
    (bad,) = [finding for finding in house().check() if not finding.ok]
    assert not bad.fatal
    assert "will be cut; set max.message.bytes=" in bad.text


def test_a_compacted_events_topic_is_named() -> None:
    events = Found("e", "id", 1, {"cleanup.policy": "compact"})
    bad = [finding for finding in judge(events, None, None, RETENTION_MS) if not finding.ok]
    assert [(f.fatal, "set cleanup.policy=delete" in f.text) for f in bad] == [(False, True)]


def test_a_status_topic_whose_settings_are_hidden_is_refused() -> None:
    events, status = Found("e", "id", 1, None), Found("s", "id", 1, None)
    assert [f.fatal for f in judge(events, status, None, RETENTION_MS)] == [False, True, False]


def test_a_dead_letter_topic_whose_settings_are_hidden_is_not_said_to_be_small() -> None:
    events, dead = Found("e", "id", 1, {}), Found("d", "id", 1, None)
    (advice,) = [f for f in judge(events, None, dead, RETENTION_MS) if not f.ok]
    assert not advice.fatal
    assert advice.text.startswith("d: we may not read the settings")


def test_a_dead_letter_topic_keeps_letters_from_when_they_were_written(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    """Stamped with their events' times, those of a backfill were deleted at once."""
    events, _, dead = names
    cluster.create(events, 1)
    house(dead_letter_retention_s=86_400).ensure()
    made = settings(cluster, dead)
    assert (made["retention.ms"], made["cleanup.policy"]) == ("86400000", "delete")
    assert made["message.timestamp.type"] == "LogAppendTime"
    assert all(finding.ok for finding in house(dead_letter_retention_s=86_400).check())
    (bad,) = [f for f in house(dead_letter_retention_s=172_800).check() if not f.ok]
    assert not bad.fatal
    assert "keeps dead letters for 86400 s, and KAFKA__DEAD_LETTER_RETENTION_S" in bad.text
    assert house(dead_letter_retention_s=172_800).ensure().partitions == 1


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({}, None),
        ({"retention.ms": "-1"}, None),
        ({"retention.ms": "2592000000"}, None),
        ({"retention.ms": "604800000"}, "set retention.ms=2592000000, or lower that setting"),
        ({"cleanup.policy": "compact"}, "set cleanup.policy=delete"),
        ({"cleanup.policy": "compact,delete"}, "set cleanup.policy=delete"),
        ({"message.timestamp.type": "LogAppendTime"}, None),
    ],
)
def test_a_dead_letter_topic_that_forgets_is_named(
    config: dict[str, str], advice: str | None
) -> None:
    events = Found("e", "id", 1, {})
    dead = Found("d", "id", 1, {"max.message.bytes": "2000000", **config})
    texts = [finding.text for finding in judge(events, None, dead, RETENTION_MS) if not finding.ok]
    assert [text.endswith(advice) for text in texts] == [True] if advice else texts == []


def test_a_status_topic_that_is_too_small_for_a_status_is_named() -> None:
    events = Found("e", "id", 1, {})
    status = Found("s", "id", 1, {"cleanup.policy": "compact", "max.message.bytes": "10000"})
    (bad,) = [finding for finding in judge(events, status, None, RETENTION_MS) if not finding.ok]
    assert (bad.fatal, "takes records of 10000 bytes" in bad.text) == (False, True)


def test_three_topics_must_be_three() -> None:
    with pytest.raises(ConfigError, match="three topics"):
        topics("localhost:1", "a", "b", "a")


def test_a_topic_that_was_made_again_has_another_identity(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    events, status, _ = names
    cluster.create(events, 1)
    topics = house()
    facts = topics.ensure()
    assert topics.ensure().status_topic_id == facts.status_topic_id
    cluster.delete(status)
    assert topics.ensure().status_topic_id != facts.status_topic_id


def test_an_events_topic_that_not_all_have_heard_of_is_waited_for(
    cluster: Kafka, names: tuple[str, str, str], house: Make
) -> None:
    topics = house()
    creating = threading.Timer(0.5, cluster.create, (names[0], 3))
    creating.start()
    assert topics.ensure().partitions == 3
    creating.join()


def test_a_topic_that_one_broker_knows_and_the_next_does_not_is_not_there_yet(
    names: tuple[str, str, str], house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = house()
    monkeypatch.setattr(topics, "_describe", lambda name: Found(name, "id", 1, None))
    assert topics._find(names[1]) is None


def test_without_a_broker_the_topics_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_module, "REQUEST_TIMEOUT_S", 0.5)
    with pytest.raises(Unavailable):
        topics("127.0.0.1:1", "e", "s", "d").check()

"""An events topic that is given more partitions: noticed at the start and while running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import NewPartitions

from processor.errors import ConfigError, StopProcessing
from processor.kafka.topics.rules import Found, judge
from processor.kafka.topics.watch import Expected
from processor.sandbox.demo.judge import judge as judge_tasks
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import PATIENCE_S, Broker, Kafka, Names, Recorder, until
from tests.integration.ledger import Ledger, histories
from tests.integration.stage import PARTITIONS, Stage, past_traffic
from tests.support.parts import RETENTION_MS
from tests.support.parts import source as make_source
from tests.support.parts import topics as topics_of

pytestmark = pytest.mark.kafka

SEED = 20_261_101
GROWN = PARTITIONS + 2
QUICK_METADATA = '{"topic.metadata.refresh.interval.ms": 1000}'


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def grow(cluster: Kafka, topic: str, partitions: int) -> None:
    answers = cluster.admin.create_partitions([NewPartitions(topic, partitions)])
    answers[topic].result(PATIENCE_S)
    until(lambda: len(cluster.admin.list_topics(topic, 10).topics[topic].partitions) == partitions)


def committed(stage: Stage, *partitions: int) -> list[int]:
    names = stage.names
    config = {"bootstrap.servers": stage.bootstrap_servers, "group.id": names.group_id}
    with Consumer(config) as consumer:
        places = [TopicPartition(names.events, partition) for partition in partitions]
        return [place.offset for place in consumer.committed(places, PATIENCE_S)]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_partition_that_was_not_there_at_the_start_stops_the_process_before_it_is_read(
    kafka: Broker, cluster: Kafka, topics: Callable[..., Names], protocol: str
) -> None:
    names = topics(2)
    source = make_source(
        kafka.bootstrap_servers,
        names.group_id,
        names.events,
        options={"topic.metadata.refresh.interval.ms": 500},
        group_protocol=protocol,
        expected=Expected(2),
    )
    listener = Recorder()
    source.subscribe(listener)
    try:
        until(lambda: source.poll(10, 0.1) == {} and set(source.assigned()) == {0, 1})
        for partition in (0, 1):
            source.start(partition, -1)
        grow(cluster, names.events, 3)
        cluster.produce(names.events, 2, [b"event"] * 3)

        def never() -> bool:
            assert source.poll(10, 0.1) == {}
            return False

        with pytest.raises(StopProcessing, match=r"more partitions: at least 3, and it had 2"):
            until(never)
        assert ("assigned", [2]) not in listener.calls
    finally:
        source.close()


@pytest.mark.slow
def test_a_topic_that_grew_is_refused_until_the_status_topic_has_as_many_and_nothing_is_lost(
    stage: Stage,
) -> None:
    first, second = past_traffic(150, SEED), past_traffic(150, SEED + 1)
    tasks = expected(first).tasks | expected(second).tasks
    stage.org.add_tasks(tasks)
    (process,) = stage.start_ready("one", KAFKA__OPTIONS=QUICK_METADATA)
    stage.feed(first).join()
    Ledger(stage).wait_until_settled()

    grow(stage.cluster, stage.names.events, GROWN)
    stage.feed(second).join()
    new = [m for m in stage.cluster.read(stage.names.events) if (m.partition() or 0) >= PARTITIONS]
    assert new, "the traffic uses the new partitions too"
    assert process.wait() == 1
    assert "has been given more partitions: at least 8, and it had 6" in process.log()
    assert committed(stage, PARTITIONS, PARTITIONS + 1) == [-1001, -1001]

    refused = stage.start("one")
    assert refused.wait() == 2
    status = stage.names.status
    assert f"--alter --topic {status} --partitions {GROWN} (3) Start." in refused.log()

    grow(stage.cluster, status, GROWN)
    assert stage.start("one", "run", "--once").wait(90) == 0
    assert judge_tasks(stage.org, tasks).wrong == []
    ledger = Ledger(stage)
    kept = {}
    for message in stage.cluster.read(status):
        state = ledger._codec.decode(message.value() or b"")
        kept[state.message_id] = state.history
    assert kept == histories([*first, *second])
    letters = stage.cluster.read(stage.names.dead_letter)
    wanted = expected(first).dead_letters + expected(second).dead_letters
    assert len(letters) == wanted.total()


def test_what_has_to_be_done_is_told_in_order_and_by_name() -> None:
    events, status = Found("e", "1", 8, {}), Found("s", "2", 6, {"cleanup.policy": "compact"})
    told = [finding.text for finding in judge(events, status, None, RETENTION_MS) if finding.fatal]
    assert len(told) == 1
    places = [told[0].index(part) for part in ("(1) Stop", "(2) kafka-topics.sh", "(3) Start")]
    assert places == sorted(places)
    assert "--alter --topic s --partitions 8" in told[0]
    assert "processor rekey" in told[0]
    fewer = [f.text for f in judge(status, events, None, RETENTION_MS) if f.fatal]
    assert "A topic can't get fewer" in fewer[0]


def test_a_topic_is_found_by_name_or_refused(kafka: Broker, topics: Callable[..., Names]) -> None:
    names = topics(3)
    house = topics_of(kafka.bootstrap_servers, names.events, names.status, names.dead_letter)
    assert house.find(names.events).partitions == 3
    with pytest.raises(ConfigError, match="does not exist"):
        house.find("nowhere")

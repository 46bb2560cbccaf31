"""`processor rekey`: every event once, under its message id, whatever is killed in between."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from processor.kafka.headers import UNREADABLE
from processor.sandbox.traffic.generator import Report, Traffic
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import PATIENCE_S, Broker
from tests.integration.ledger import Ledger
from tests.integration.stage import Stage, past_traffic, wait
from tests.support.patience import Patience
from tests.support.raw_headers import produce_raw

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 20_261_102
RAW_PARTITIONS = 4
ACCOUNT = b"account"


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


class Raw:
    """A topic whose reports lie anywhere, each with its number in a header."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.name = f"raw-{stage.names.events}"
        self.group = f"{stage.names.group_id}-rekey"
        self.sent: list[tuple[bytes | None, Report]] = []
        stage.cluster.create(self.name, RAW_PARTITIONS, {"retention.ms": "-1"})

    def send(self, traffic: Traffic) -> None:
        encoders = self._stage.encoders()
        producer = Producer({"bootstrap.servers": self._stage.bootstrap_servers, "linger.ms": 20})
        for report in traffic:
            number = len(self.sent)
            value = encoders.value(report)
            producer.produce(
                self.name,
                value,
                ACCOUNT,
                number % RAW_PARTITIONS,
                timestamp=report.timestamp_ms,
                headers=[("number", str(number)), ("empty", None)],
            )
            self.sent.append((value, report))
            if number % 1_000 == 0:
                producer.flush(PATIENCE_S)
        assert producer.flush(PATIENCE_S) == 0

    def copied(self) -> int:
        """How far the group has come."""
        config = {"bootstrap.servers": self._stage.bootstrap_servers, "group.id": self.group}
        places = [TopicPartition(self.name, partition) for partition in range(RAW_PARTITIONS)]
        limit = Patience(PATIENCE_S)
        with Consumer(config) as consumer:
            while True:
                try:
                    return sum(max(0, p.offset) for p in consumer.committed(places, PATIENCE_S))
                except KafkaException:  # the group's coordinator is yet to be elected, or to load
                    assert not limit.is_over()


def number_of(message: Message) -> int:
    return int(dict(message.headers() or [])["number"] or b"")


def test_each_event_is_copied_once_though_the_copying_processes_are_killed(stage: Stage) -> None:
    raw = Raw(stage)
    raw.send(past_traffic(8_000, SEED))
    kills = 0
    for name in ("one", "two"):
        process = stage.start(name, "rekey", raw.name)
        before = raw.copied()
        wait("something is copied", lambda: raw.copied() > before)  # noqa: B023 - called at once
        process.kill()
        kills += raw.copied() < len(raw.sent)
    last = [stage.start(name, "rekey", raw.name, "--once") for name in ("three", "four")]
    assert [process.wait(90) for process in last] == [0, 0]
    assert kills, "no process was killed in the middle of it"

    found = stage.cluster.read(stage.names.events)
    assert Counter(map(number_of, found)) == Counter(range(len(raw.sent)))
    places = defaultdict(set)
    for message in found:
        value, report = raw.sent[number_of(message)]
        assert message.value() == value
        assert message.timestamp() == (1, report.timestamp_ms)
        assert list(message.headers() or [])[1:] == [("empty", None)]
        if report.poison is None:
            assert message.key() == report.event["message_id"].encode()
            places[message.key()].add(message.partition())
        else:
            assert message.key() in (ACCOUNT, report.event["message_id"].encode())
    assert {len(partitions) for partitions in places.values()} == {1}


def test_an_event_is_copied_although_a_header_of_it_cannot_be_read(stage: Stage) -> None:
    raw = Raw(stage)
    (report,) = [one for one in past_traffic(1, SEED) if one.poison is None][:1]
    value = stage.encoders().value(report)
    assert value is not None
    produce_raw(stage.bootstrap_servers, raw.name, ACCOUNT, value, [(b"\xff", b"1"), (b"a", b"2")])
    assert stage.start("one", "rekey", raw.name, "--once").wait(90) == 0
    [copy] = stage.cluster.read(stage.names.events)
    assert (copy.key(), copy.value()) == (report.event["message_id"].encode(), value)
    assert [pair[0] for pair in copy.headers() or []] == [UNREADABLE]


def test_a_process_that_was_stopped_for_long_copies_nothing_twice_when_it_wakes(
    stage: Stage,
) -> None:
    raw = Raw(stage)
    raw.send(past_traffic(8_000, SEED + 3))
    sleeper = stage.start("sleeper", "rekey", raw.name)
    wait("something is copied", lambda: raw.copied() > 0)
    sleeper.freeze()
    left = len(raw.sent) - raw.copied()
    assert stage.start("other", "rekey", raw.name, "--once").wait(90) == 0
    assert raw.copied() == len(raw.sent)
    sleeper.thaw()
    wait(
        "it has lost its partitions",
        lambda: sleeper.log().count("partition assigned") > RAW_PARTITIONS,
    )
    raw.send(past_traffic(100, SEED + 4))
    wait("it goes on", lambda: raw.copied() == len(raw.sent))
    assert sleeper.stop() == 0
    assert left > 0, "the sleeper had copied everything before it fell asleep"
    found = stage.cluster.read(stage.names.events)
    assert Counter(map(number_of, found)) == Counter(range(len(raw.sent)))


def test_what_was_copied_is_processed_as_if_it_had_been_keyed_from_the_start(
    stage: Stage,
) -> None:
    raw, traffic = Raw(stage), past_traffic(300, SEED + 1)
    stage.org.add_tasks(expected(traffic).tasks)
    raw.send(traffic)
    copy = stage.start("copy", "rekey", raw.name, "--once")
    assert copy.wait() == 0
    assert f"copied {len(raw.sent)}, of them " in copy.log()
    assert stage.start("one", "run", "--once").wait(90) == 0
    Ledger(stage).check_all_right(traffic)

    again = stage.start("again", "rekey", raw.name, "--once")
    assert again.wait() == 0
    assert "copied 0, of them 0 " in again.log()


def test_events_under_other_keys_are_counted_and_warned_of(stage: Stage) -> None:
    producer = Producer({"bootstrap.servers": stage.bootstrap_servers})
    encoders = stage.encoders()
    for report in past_traffic(20, SEED + 2):
        if report.poison is None:
            producer.produce(stage.names.events, encoders.value(report), ACCOUNT)
    assert producer.flush(PATIENCE_S) == 0
    process = stage.start("one")
    name = "sms_processor_odd_keys_total"
    wait("it is counted", lambda: process.metric(name, kind="not_message_id") > 0)
    assert process.log().count("not keyed by message id") == 1
    assert process.metric(name, kind="other_partition") == 0


def test_events_of_producers_that_choose_partitions_differently_are_counted_and_warned_of(
    stage: Stage,
) -> None:
    encoders = stage.encoders()
    for partitioner in ("murmur2_random", "consistent_random"):
        producer = Producer(
            {"bootstrap.servers": stage.bootstrap_servers, "partitioner": partitioner}
        )
        for report in past_traffic(10, SEED + 5):
            if report.poison is None:
                key = report.event["message_id"].encode()
                producer.produce(stage.names.events, encoders.value(report), key)
        assert producer.flush(PATIENCE_S) == 0
    process = stage.start("one", BATCH__MAX_RECORDS="10")  # of each batch, 20 are looked at
    name = "sms_processor_odd_keys_total"
    wait("it is counted", lambda: process.metric(name, kind="other_partition") > 0)
    assert process.log().count("not in the partition of their key") == 1
    assert process.metric(name, kind="not_message_id") == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"message.timestamp.type": "LogAppendTime"}, "set message.timestamp.type=CreateTime"),
        ({"cleanup.policy": "compact"}, "set cleanup.policy=delete"),
    ],
)
def test_a_topic_that_would_not_keep_the_events_is_refused(
    stage: Stage, config: dict[str, str], said: str
) -> None:
    raw = Raw(stage)
    target = f"target-{raw.name}"
    stage.cluster.create(target, 1, config)
    process = stage.start("one", "rekey", raw.name, KAFKA__EVENTS_TOPIC=target)
    assert process.wait() == 2
    assert said in process.log()


def test_a_topic_that_takes_small_batches_only_is_written(stage: Stage) -> None:
    """Its limit is held against each batch: of 8,000 events none was copied, at every start."""
    raw = Raw(stage)
    raw.send(past_traffic(2_000, SEED + 6))
    target = f"target-{raw.name}"
    stage.cluster.create(target, 1, {"max.message.bytes": "20000", "retention.ms": "-1"})
    copy = stage.start("one", "rekey", raw.name, "--once", KAFKA__EVENTS_TOPIC=target)
    assert copy.wait(90) == 0
    assert len(stage.cluster.read(target)) == len(raw.sent)


def test_a_topic_of_other_things_is_refused_before_anything_is_copied(stage: Stage) -> None:
    """A typo copied 29,798 statuses into the events topic, with exit code 0."""
    raw = Raw(stage)
    stage.cluster.produce(raw.name, 1, [b"no event"] * 50)
    assert stage.start("one", "rekey", raw.name, "--once").wait() == 2
    said = stage.processes[0].log()
    assert f"of the first 50 records of {raw.name} can't be decoded as events (" in said
    assert stage.cluster.read(stage.names.events) == []
    assert raw.copied() == 0

    assert stage.start("two", "rekey", raw.name, "--once", "--undecodable").wait() == 0
    assert len(stage.cluster.read(stage.names.events)) == 50


def test_topics_that_are_missing_or_our_own_are_refused(stage: Stage) -> None:
    names = stage.names
    slips = {
        (names.events,): "is KAFKA__EVENTS_TOPIC itself",
        (names.status,): "is KAFKA__STATUS_TOPIC: it holds statuses",
        (names.dead_letter,): "is KAFKA__DEAD_LETTER_TOPIC: ",
        ("nowhere",): "topic nowhere does not exist",
        ("nowhere", "--group", names.group_id): "is KAFKA__GROUP_ID, the group of `processor run`",
    }
    for number, (arguments, said) in enumerate(slips.items()):
        process = stage.start(f"slip-{number}", "rekey", *arguments)
        assert process.wait() == 2
        assert said in process.log()

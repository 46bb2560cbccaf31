"""What ordinary tools do to a group's offsets and topics must not turn a Task back, or lose a row.

Real `processor run` processes; the tools' part is played with the same admin requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from processor.kafka.partitioners import murmur2
from processor.sandbox.demo.judge import CODE_FIELD
from processor.sandbox.org.server import OrgSettings, SandboxOrg
from tests.integration.kit import PATIENCE_S, Broker
from tests.integration.stage import PARTITIONS, Process, Stage, wait

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

HOUR_S = 3_600.0
PARTITION = 0


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def ids(count: int, *, of: str = "message") -> list[str]:
    """Message ids of the one partition."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"{of}-{number}"
        if murmur2(name.encode()) % PARTITIONS == PARTITION:
            found.append(name)
        number += 1
    return found


def task_of(message_id: str) -> str:
    return f"00T{murmur2(message_id.encode()):012d}AAA"[:15]


def produce(stage: Stage, reports: list[tuple[str, int, float]]) -> None:
    """Reports as (message id, code, how many seconds ago), each record with its report's time."""
    now = time.time()
    lines = [
        json.dumps(
            {
                "message_id": message_id,
                "status_code": code,
                "date_received": datetime.fromtimestamp(now - ago, UTC).isoformat(),
                "metadata": {"salesforce_task_id": task_of(message_id)},
            }
        )
        for message_id, code, ago in reports
    ]
    file = stage.folder / "reports.jsonl"
    file.write_text("\n".join(lines))
    sender = stage.start("produce", "produce", "--keep-time", str(file))
    assert sender.wait() == 0, sender.log()


def codes(org: SandboxOrg, message_ids: list[str]) -> set[int | None]:
    found = (org.task(task_of(message_id)).get(CODE_FIELD) for message_id in message_ids)
    return {None if code is None else int(str(code)) for code in found}


def set_offset(stage: Stage, offset: int) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets` does: without anything beside it."""
    place = TopicPartition(stage.names.events, PARTITION, offset)
    request = ConsumerGroupTopicPartitions(stage.names.group_id, [place])

    def done() -> bool:
        (answer,) = stage.cluster.admin.alter_consumer_group_offsets([request]).values()
        return answer.exception() is None and all(
            found.error is None for found in answer.result().topic_partitions
        )

    wait("the group is empty, and its offset altered", done)


def make_again(stage: Stage, topic: str, config: Mapping[str, str] | None = None) -> None:
    stage.cluster.delete(topic)
    stage.cluster.create(topic, PARTITIONS, config)


def drain(stage: Stage, name: str, **settings: str) -> Process:
    process = stage.start(name, "run", "--once", **settings)
    assert process.wait(2 * PATIENCE_S) == 0, process.log()
    return process


def owing(stage: Stage, message_ids: list[str]) -> Process:
    """A process that has read a report of each of these, while its org is down."""
    stage.org.add_tasks(map(task_of, message_ids))
    stage.org.stop()
    produce(stage, [(message_id, 220, 60.0) for message_id in message_ids])
    (process,) = stage.start_ready("one")
    wait("all rows owed", lambda: process.owed() == len(message_ids))
    return process


@pytest.mark.parametrize("store", ["kept", "lost"])
def test_an_offset_that_is_set_back_takes_no_delivered_task_back(stage: Stage, store: str) -> None:
    (late,), (now,) = ids(1, of="late"), ids(1, of="now")
    stage.org.add_tasks([task_of(late), task_of(now)])
    short = {"STATE__RETENTION_S": str(HOUR_S)}
    ago = 5 * HOUR_S
    produce(stage, [(late, 200, ago), (late, 220, ago - 1), (late, 200, ago - 2)])
    produce(stage, [(now, 220, 0.0)])
    (process,) = stage.start_ready("one", **short)
    wait("forgotten", lambda: process.metric("sms_processor_statuses_expired_total") == 1)
    assert process.stop() == 0
    assert codes(stage.org, [late]) == {220}

    set_offset(stage, 2)  # before the late 200
    if store == "lost":
        stage.lose_store("one")
    again = drain(stage, "one", **short)
    assert codes(stage.org, [late]) == {220}
    assert "offset 2 was committed by another program" in again.log()
    assert "at offset 4" in again.log(), "both numbers are told"
    assert stage.unread() == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_events_topic_that_is_made_again_is_read_from_its_beginning(
    stage: Stage, protocol: str
) -> None:
    first, second = ids(50, of="first"), ids(80, of="second")
    stage.org.add_tasks(map(task_of, (*first, *second)))
    settings = {"KAFKA__GROUP_PROTOCOL": protocol}
    produce(stage, [(message_id, 220, 60.0) for message_id in first])
    (process,) = stage.start_ready("one", **settings)
    wait("the first are written", lambda: codes(stage.org, first) == {220})
    make_again(stage, stage.names.events, {"retention.ms": "-1"})
    produce(stage, [(message_id, 220, 60.0) for message_id in second])
    assert process.wait(2 * PATIENCE_S) == 1
    assert f"topic {stage.names.events} was deleted and made again" in process.log()
    drain(stage, "one", **settings)
    assert codes(stage.org, second) == {220}


def test_positions_of_a_topic_that_was_made_again_mean_nothing(stage: Stage) -> None:
    """The old topic's offset was committed once more before the change was seen."""
    first, second = ids(50, of="first"), ids(80, of="second")
    stage.org.add_tasks(map(task_of, (*first, *second)))
    produce(stage, [(message_id, 220, 60.0) for message_id in first])
    drain(stage, "one")
    places = [TopicPartition(stage.names.events, PARTITION)]
    request = [ConsumerGroupTopicPartitions(stage.names.group_id, places)]
    (answer,) = stage.cluster.admin.list_consumer_group_offsets(request).values()
    (committed,) = answer.result().topic_partitions
    assert (committed.offset, bool(committed.metadata)) == (50, True)
    make_again(stage, stage.names.events, {"retention.ms": "-1"})
    (answer,) = stage.cluster.admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(stage.names.group_id, [committed])]
    ).values()
    answer.result()
    produce(stage, [(message_id, 220, 60.0) for message_id in second])
    again = drain(stage, "one")
    assert codes(stage.org, second) == {220}
    assert "it is read from its beginning" in again.log()


def test_without_the_status_topic_that_goes_with_its_offsets_nothing_starts(stage: Stage) -> None:
    owed = ids(30)
    process = owing(stage, owed)
    assert process.stop() == 0
    stage.org.start()

    stage.cluster.delete(stage.names.status)
    refused = stage.start("one")
    assert refused.wait() == 2
    says = f"committed offsets of group {stage.names.group_id} go with the status topic"
    assert says in refused.log()
    assert stage.names.status not in stage.cluster.admin.list_topics().topics, "made in silence"
    checked = stage.start("one", "check")
    assert checked.wait() == 1
    assert says in checked.log()

    stage.cluster.create(stage.names.status, PARTITIONS, {"cleanup.policy": "compact"})
    assert stage.start("one").wait() == 2, "a new one under its name is not that topic"
    for partition in range(PARTITIONS):  # the documented way to begin anew
        place = TopicPartition(stage.names.events, partition, 0)
        request = ConsumerGroupTopicPartitions(stage.names.group_id, [place])
        (answer,) = stage.cluster.admin.alter_consumer_group_offsets([request]).values()
        answer.result()
    drain(stage, "one")
    assert codes(stage.org, owed) == {220}


def test_a_status_topic_that_is_made_again_stops_the_process(stage: Stage) -> None:
    (process,) = stage.start_ready("one")
    make_again(stage, stage.names.status, {"cleanup.policy": "compact"})
    assert process.wait(2 * PATIENCE_S) == 1
    assert f"topic {stage.names.status} was deleted and made again" in process.log()


def test_a_second_group_keeps_its_hands_off_a_status_topic(stage: Stage) -> None:
    """Production and a test on one cluster, with the topics' names left at their defaults."""
    owed = ids(50)
    production = owing(stage, owed)

    other_org = SandboxOrg(settings=OrgSettings(fields=stage.org.settings.fields))
    other_org.start()
    try:
        other_org.add_tasks(map(task_of, owed))
        other = {
            "KAFKA__GROUP_ID": f"{stage.names.group_id}-uat",
            "SALESFORCE__ENDPOINT_URL": other_org.url,
        }
        uat = stage.start("uat", **other)
        assert uat.wait(2 * PATIENCE_S) == 2
        says = f"group {stage.names.group_id} (ours: {stage.names.group_id}-uat)"
        assert says in uat.log()
        assert not other_org.writes()
        checked = stage.start("uat", "check", **other)
        assert checked.wait() == 1
        assert says in checked.log()
    finally:
        other_org.stop()

    stage.org.start()
    wait("production has written all", lambda: codes(stage.org, owed) == {220})
    wait("and owes nothing", lambda: production.owed() == 0)
    assert production.stop() == 0

    owner = checked.log().partition('ADOPT_STATUSES_OF = ["')[2].partition('"')[0]
    renamed = {"KAFKA__GROUP_ID": f"{stage.names.group_id}-renamed"}
    drain(stage, "renamed", **renamed, KAFKA__ADOPT_STATUSES_OF=json.dumps([owner]))
    assert stage.start("renamed", **renamed).wait(2 * PATIENCE_S) == 1, "the records are theirs"

"""`processor run` with LOG__FORMAT=json: what happens to a partition is found by its number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from processor import FORM
from processor.sandbox.org.auth import ORG_ID
from processor.sandbox.traffic.generator import Poison
from tests.integration.kit import Broker
from tests.integration.stage import PARTITIONS, Process, Stage, wait
from tests.integration.test_garbage import send
from tests.integration.test_poison import life, task_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITION, OTHER = 3, 1
DEAD_LETTERS = "sms_processor_dead_letters_total"


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def selected(process: Process, **fields: object) -> list[dict[str, Any]]:
    """As `jq 'select(.partition == 3)'` does: a line that is no JSON is an error."""
    lines = map(json.loads, process.log().splitlines())
    return [line for line in lines if fields.items() <= line.items()]


def sentences(lines: list[dict[str, Any]]) -> list[str]:
    """Their beginnings, up to the first comma or colon."""
    return [line["msg"].replace(":", ",").partition(",")[0] for line in lines]


def damage_store(stage: Stage, partition: int) -> None:
    file = stage.store("one") / f"partition-{partition}" / "data.mdb"
    content = bytearray(file.read_bytes())
    content[0:8192] = b"\x07" * 8192
    file.write_bytes(content)


def test_the_life_of_a_partition_is_selected_by_its_number(stage: Stage) -> None:
    sent, garbage, arrived = life(0, Poison.BAD_MAGIC)
    refused, *_ = life(1, Poison.BAD_MAGIC)
    stage.org.add_tasks([task_of(sent), task_of(refused)])
    stage.org.delete_tasks([task_of(refused)])
    (process,) = stage.start_ready("one", LOG__FORMAT="json")
    send(stage, OTHER, [garbage])
    send(stage, PARTITION, [sent, garbage, garbage, arrived, refused])
    wait("all are dead letters", lambda: process.metric(DEAD_LETTERS) == 4)
    wait("nothing is owed", lambda: process.owed() == 0)
    assert process.stop() == 0

    by_keys = "processor.kafka.keys"  # the test's producer puts any key into any partition
    all_found = selected(process, partition=PARTITION)
    found = [line for line in all_found if line["logger"] != by_keys]
    assert sentences(found) == [
        "partition assigned",
        "partition running",
        "events became dead letters",
        "Salesforce refused rows for good",
        "partition revoked",
    ]
    _, running, events, rows, _ = found
    assert (running["restored"], running["offset"]) == (0, -1)
    assert (events["level"], events["reason"]) == ("warning", "bad_magic")
    assert (events["stage"], events["events"], events["offset"]) == ("decode", 2, 1)
    assert (rows["level"], rows["reason"]) == ("error", "ENTITY_IS_DELETED")
    assert (rows["stage"], rows["rows"]) == ("salesforce", 1)
    (elsewhere,) = selected(process, partition=OTHER, reason="bad_magic")
    assert (elsewhere["events"], elsewhere["offset"]) == (1, 0)
    assert sent.event["message_id"] not in process.log()


def test_a_store_that_fails_is_found_by_its_partition(stage: Stage) -> None:
    sent, _, arrived = life(0, Poison.BAD_MAGIC)
    stage.org.add_tasks([task_of(sent)])
    (process,) = stage.start_ready("one")
    send(stage, PARTITION, [sent, arrived])
    wait("all is read", lambda: stage.unread() == 0)
    wait("nothing is owed", lambda: process.owed() == 0)
    assert process.stop() == 0

    damage_store(stage, PARTITION)
    (again,) = stage.start_ready("one", LOG__FORMAT="json")
    assert again.stop() == 0
    found = selected(again, partition=PARTITION)
    assert sentences(found) == [
        "partition assigned",
        "local store wiped",
        "partition running",
        "partition revoked",
    ]
    assert found[2]["restored"] > 0
    others = [number for number in range(PARTITIONS) if number != PARTITION]
    for number in others:
        assert "local store wiped" not in sentences(selected(again, partition=number))


def test_run_begins_and_ends_with_a_line_that_says_which_it_is(stage: Stage) -> None:
    sent, garbage, arrived = life(0, Poison.BAD_MAGIC)
    stage.org.add_tasks([task_of(sent)])
    send(stage, PARTITION, [sent, garbage, arrived])
    process = stage.start("one", "run", "--once", LOG__FORMAT="json")
    assert process.wait(90) == 0
    lines = [json.loads(line) for line in process.log().splitlines() if line.startswith("{")]
    started = next(line for line in lines if line["msg"].startswith("started"))
    assert (
        started.items()
        >= {
            "version": version("sms-status-processor"),
            "form": FORM,
            "group": stage.names.group_id,
            "group_protocol": "classic",
            "events_topic": stage.names.events,
            "status_topic": stage.names.status,
            "dead_letter_topic": stage.names.dead_letter,
            "partition_count": PARTITIONS,
            "org": ORG_ID[:15],
        }.items()
    )
    assert (
        lines[-1].items()
        >= {
            "level": "info",
            "msg": "stopped",
            "events": 3,
            "dead_letters": 1,
            "rows_owed": 0,
        }.items()
    )


def test_what_ends_it_is_a_line_too(stage: Stage) -> None:
    missing = {"KAFKA__EVENTS_TOPIC": "nowhere"}
    process = stage.start("one", LOG__FORMAT="json", **missing)
    assert process.wait() == 2
    (line,) = selected(process, level="error")
    assert "nowhere" in line["why"]

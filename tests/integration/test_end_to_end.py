"""The whole job on a real Kafka: `processor run` as processes, a sandbox org, judged traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.sandbox.org.server import Fault, FaultKind
from processor.sandbox.traffic.generator import Mix, Poison
from processor.sandbox.traffic.oracle import Expected, expected
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger
from tests.integration.stage import Stage, past_traffic, wait

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 20_260_101


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def run_two(stage: Stage, mix: Mix, **settings: str) -> None:
    """Two processes, three partitions each; traffic; everything must come out right."""
    traffic = past_traffic(1_000, SEED, mix)
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    processes = stage.start_ready("one", "two", **settings)
    stage.feed(traffic, per_s=800).join()
    ledger = Ledger(stage)
    ledger.wait_until_settled()
    ledger.check_all_right(traffic)
    accounted = accounts([process.events for process in processes])
    assert accounted == accounts_wanted(wanted)
    assert all(process.events() > 0 for process in processes)
    assert [process.stop() for process in processes] == [0, 0]


def accounts(counts: list[Callable[..., float]]) -> dict[str, float]:
    """What the processes' metrics say became of the events."""
    outcomes = ("ignored", "rejected")
    told = {o: sum(count(outcome=o) for count in counts) for o in outcomes}
    return told | {"all": sum(count() for count in counts)}


def accounts_wanted(wanted: Expected) -> dict[str, float]:
    return {
        "ignored": wanted.ignored,
        "rejected": wanted.dead_letters.total(),
        "all": wanted.events,
    }


def test_two_processes_share_the_partitions_and_every_event_is_accounted_for(
    stage: Stage,
) -> None:
    run_two(stage, Mix(poisoned=0.02))


@pytest.mark.registry
def test_two_processes_do_so_with_a_schema_registry_and_the_new_group_protocol(
    kafka: Broker, registry_url: str, tmp_path: Path
) -> None:
    stage = Stage(kafka.bootstrap_servers, tmp_path, registry_url=registry_url)
    try:
        mix = Mix(poisoned=0.02, poisons=tuple(Poison))
        run_two(stage, mix, KAFKA__GROUP_PROTOCOL="consumer")
    finally:
        stage.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_kill_9_in_the_middle_of_traffic_and_a_lost_store_change_nothing(
    stage: Stage, protocol: str
) -> None:
    traffic = past_traffic(1_000, SEED + 1, Mix(poisoned=0.02))
    stage.org.add_tasks(expected(traffic).tasks)
    one, _ = stage.start_ready("one", "two", KAFKA__GROUP_PROTOCOL=protocol)
    feed = stage.feed(traffic, per_s=300)
    wait("a third was sent", lambda: feed.sent > 1_200)
    one.kill()
    stage.lose_store("one")
    again = stage.start("one", KAFKA__GROUP_PROTOCOL=protocol)
    feed.join()
    ledger = Ledger(stage)
    ledger.wait_until_settled()
    ledger.check_all_right(traffic)
    assert again.exit_code() is None


def test_while_salesforce_is_down_events_are_read_and_each_task_is_written_once_after(
    stage: Stage,
) -> None:
    before, meanwhile = past_traffic(200, SEED + 2), past_traffic(600, SEED + 3)
    missed = expected(meanwhile).tasks
    stage.org.add_tasks([*expected(before).tasks, *missed])
    (process,) = stage.start_ready("one")
    ledger = Ledger(stage)
    stage.feed(before).join()
    ledger.wait_until_settled()

    stage.org.stop()
    stage.feed(meanwhile, per_s=400).join()
    wait("all events read", lambda: stage.unread() == 0)
    wait("no lag", lambda: process.lag() == 0)
    wait("all rows owed", lambda: process.owed() == len(missed))
    stage.org.inject(Fault(FaultKind.UNAVAILABLE, duration_s=6))
    stage.org.start()
    wait("503 met", lambda: stage.org.faults() == [])
    assert process.owed() == len(missed)
    ledger.wait_until_settled()
    wait("no row owed", lambda: process.owed() == 0)

    ledger.check_all_right(before, meanwhile)
    written = [write.task_id for write in stage.org.writes() if write.task_id in missed]
    assert sorted(written) == sorted(missed)

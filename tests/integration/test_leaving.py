"""Leaving beside others, without a broker, at once: what is left, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.sandbox.org.server import Fault, FaultKind
from processor.sandbox.servers.kafka import KafkaServer
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import Broker, real
from tests.integration.servers import BROKER_SETTINGS
from tests.integration.stage import PARTITIONS, SESSION_TIMEOUT_S, Stage, past_traffic, wait
from tests.support.patience import patient

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 61
GRACE_S = 30.0  # of Kubernetes, by default


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_once_beside_another_process_says_that_not_all_was_its_own_and_leaves_for_good(
    stage: Stage, protocol: str
) -> None:
    (other,) = stage.start_ready("other", KAFKA__GROUP_PROTOCOL=protocol)
    once = stage.start("once", "run", "--once", KAFKA__GROUP_PROTOCOL=protocol)
    assert once.wait(SESSION_TIMEOUT_S + 90) == 1
    gone = time.monotonic()
    assert "some partitions belong to other members of the group" in once.log()
    assert f" group={stage.names.group_id} with_others=" in once.log()
    assert "read 0 events, made 0 dead letters, left 0 rows owed to Salesforce" in once.log()
    wait("the other one has all again", lambda: len(other.partitions()) == PARTITIONS)
    wait("and runs them", other.ready)
    assert time.monotonic() - gone < patient(SESSION_TIMEOUT_S / 2)


@pytest.mark.parametrize("timeout_s", ["0.3", "2", "4"])
def test_a_process_that_leaves_in_the_middle_of_a_rebalance_leaves_no_partition_without_owner(
    stage: Stage, timeout_s: str
) -> None:
    """The broker reads a LeaveGroup only after the join before it was answered."""
    session = {"KAFKA__SESSION_TIMEOUT_S": "120"}
    (other,) = stage.start_ready("other", **session)
    once = stage.start("once", "run", "--once", "--timeout", timeout_s, **session)
    once.wait()
    wait("the other one has all", lambda: len(other.partitions()) == PARTITIONS and other.ready())
    time.sleep(1)
    wait("and keeps it", lambda: len(other.partitions()) == PARTITIONS and other.ready())


def test_once_beside_another_process_that_owes_rows_does_not_exit_with_0(stage: Stage) -> None:
    traffic = past_traffic(200, SEED)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.org.stop()
    (other,) = stage.start_ready("other")
    stage.feed(traffic).join()
    wait("rows are owed", lambda: other.owed() > 100)
    once = stage.start("once", "run", "--once", "--timeout", "10")
    assert once.wait(60) == 1
    stage.org.start()


@pytest.mark.parametrize("after_s", [1, 15, 40])
def test_a_stop_without_a_broker_is_over_before_anybody_kills(
    tmp_path: Path, after_s: float
) -> None:
    traffic = past_traffic(200, SEED + 1)
    with real(lambda: KafkaServer(BROKER_SETTINGS)) as broker:
        stage = Stage(broker.bootstrap_servers, tmp_path)
        try:
            stage.org.add_tasks(expected(traffic).tasks)
            stage.org.stop()
            (process,) = stage.start_ready("one")
            stage.feed(traffic).join()
            wait("rows are owed", lambda: process.owed() > 100)
            broker.kill()
            time.sleep(after_s)
            began = time.monotonic()
            process.stop(GRACE_S)
            assert time.monotonic() - began < patient(20)
        finally:
            stage.close()


def test_a_second_interrupt_ends_the_process_at_once_with_a_word(stage: Stage) -> None:
    traffic = past_traffic(100, SEED + 3)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.org.inject(Fault(FaultKind.SLOW, delay_s=30, duration_s=600))
    slow = {"SALESFORCE__REQUEST_TIMEOUT_S": "40", "WORKER__REVOKE_DEADLINE_S": "50"}
    (process,) = stage.start_ready("one", **slow, WORKER__SHUTDOWN_DEADLINE_S="60")
    stage.feed(traffic).join()
    wait("rows are owed", lambda: process.owed() > 10)
    process.interrupt()
    wait("it is stopping", lambda: "stopping signal=SIGINT" in process.log())
    process.interrupt()
    assert process.wait(10) == 130
    assert "nothing is lost" in process.log()
    assert "Traceback" not in process.log()


def test_processes_with_one_transactional_id_are_told_so(stage: Stage) -> None:
    traffic = past_traffic(400, SEED + 2)
    stage.org.add_tasks(expected(traffic).tasks)
    same = {"KAFKA__TRANSACTIONAL_ID": "the-same"}
    processes = [stage.start(name, **same) for name in ("one", "two")]
    stage.feed(traffic, per_s=20)
    hint = "another process uses the same PROCESSOR_KAFKA__TRANSACTIONAL_ID"
    wait("one is told", lambda: any(hint in process.log() for process in processes))
    for process in processes:
        lines = process.log().splitlines()
        assert [line for line in lines if not line.startswith("time=")] == [], "the client's own"

"""Messages that go: forgotten by command, or expired; and what is owed, which never does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb
import pytest

from processor.kafka.avro.status_codec import StatusCodec
from processor.runtime.clock import SystemClock
from processor.sandbox.org.server import Fault, FaultKind
from processor.sandbox.traffic.oracle import expected
from processor.sandbox.traffic.producer import TrafficProducer
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger
from tests.integration.stage import Stage, past_traffic, wait

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 20_261_103


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def stored(stage: Stage, name: str) -> set[str]:
    """The messages in a process's local store, once it has ended."""
    found = set()
    for directory in stage.store(name).glob("partition-*/"):
        with lmdb.open(str(directory), max_dbs=8, readonly=True, lock=False) as env:
            states = env.open_db(b"states", create=False)
            with env.begin(states) as txn:
                found |= {bytes(key).decode() for key, _ in txn.cursor()}
    return found


def latest(stage: Stage) -> dict[str, bytes | None]:
    """What is left of the status topic once it is compacted, tombstones included."""
    records = stage.cluster.read(stage.names.status)
    return {(record.key() or b"").decode(): record.value() for record in records}


def drain(stage: Stage, name: str, **settings: str) -> None:
    process = stage.start(name, "run", "--once", **settings)
    assert process.wait(90) == 0


# -- forget ------------------------------------------------------------------------------------


def test_a_forgotten_message_is_in_no_store_and_no_latest_status(stage: Stage) -> None:
    traffic = past_traffic(40, SEED)
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    stage.feed(traffic).join()
    drain(stage, "one")
    before, statuses = stored(stage, "one"), latest(stage)
    assert before == {key for key, value in statuses.items() if value is not None}
    victim = sorted(before)[7]

    done = stage.start("forget", "forget", victim)
    assert done.wait() == 0
    assert "forgotten, in partition" in done.log()
    assert stored(stage, "one") == before, "a store learns of it when its process starts"
    assert latest(stage) == statuses | {victim: None}

    writes = len(stage.org.writes())
    drain(stage, "one")
    drain(stage, "new")
    assert stored(stage, "one") == before - {victim}
    assert latest(stage) == statuses | {victim: None}
    assert len(stage.org.writes()) == writes

    again = stage.start("forget", "forget", victim)
    assert again.wait() == 1
    assert "nothing is known of this message" in again.log()
    assert victim not in again.log()


def test_nothing_is_forgotten_while_the_group_has_members(stage: Stage) -> None:
    traffic = past_traffic(10, SEED + 1)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.feed(traffic).join()
    (process,) = stage.start_ready("one")
    wait("statuses", lambda: latest(stage))
    refused = stage.start("forget", "forget", min(latest(stage)))
    assert refused.wait() == 2
    assert "has 1 members: stop every process of it first" in refused.log()
    assert None not in latest(stage).values()
    assert process.ready()


def test_a_group_of_the_new_protocol_forgets_as_well(stage: Stage) -> None:
    traffic = past_traffic(10, SEED + 2)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.feed(traffic).join()
    drain(stage, "one", KAFKA__GROUP_PROTOCOL="consumer")
    victim = min(stored(stage, "one"))
    done = stage.start("forget", "forget", victim, KAFKA__GROUP_PROTOCOL="consumer")
    assert done.wait() == 0
    drain(stage, "one", KAFKA__GROUP_PROTOCOL="consumer")
    assert victim not in stored(stage, "one")


# -- retention ---------------------------------------------------------------------------------


def send(stage: Stage, messages: Iterable[str], task_id: str, code: int, age_s: int = 0) -> None:
    """A report of each."""
    at = SystemClock().now_ms() - age_s * 1_000
    model = next(iter(past_traffic(1, SEED + 3)))
    producer = TrafficProducer(stage.bootstrap_servers, stage.names.events, stage.encoders())
    for message_id in messages:
        event = {
            **model.event,
            "message_id": message_id,
            "status_code": code,
            "metadata": {"salesforce_task_id": task_id},
            "date_received": at,
            "submitted_date": at,
        }
        report = model._replace(key=message_id, event=event, timestamp_ms=at, poison=None)
        producer.send(report)
    producer.flush()


def test_after_the_retention_there_are_tombstones_and_what_is_owed_stays(stage: Stage) -> None:
    settled, owed = "00T5g00000AbCd1EAF", "00T5g00000AbCd2EAF"
    stage.org.add_tasks([settled, owed])
    retention = {"STATE__RETENTION_S": "60"}  # the shortest that is allowed
    (process,) = stage.start_ready("one", **retention)
    gone = {f"settled-{number}" for number in range(12)}
    kept = {f"owed-{number}" for number in range(12)}
    young = [f"young-{number}" for number in range(100)]  # time has to go on in each partition
    send(stage, gone, settled, 220, age_s=50)
    Ledger(stage).wait_until_settled()
    stage.org.inject(Fault(FaultKind.UNAVAILABLE, duration_s=600))
    send(stage, kept, owed, 220, age_s=50)

    def expired() -> bool:
        send(stage, young, owed, 200)
        now = latest(stage)
        return all(now[message_id] is None for message_id in gone)

    wait("tombstones", expired)
    codec: StatusCodec = Ledger(stage)._codec
    found = latest(stage)
    assert all(codec.decode(found[message_id] or b"").owed for message_id in kept)
    assert process.metric("sms_processor_statuses_expired_total") >= len(gone)
    assert process.stop() == 0
    assert stored(stage, "one") >= kept
    assert not stored(stage, "one") & gone

    stage.org.clear_faults()
    drain(stage, "one", **retention)
    drain(stage, "new", **retention)
    assert not any(codec.decode(value).owed for value in latest(stage).values() if value)

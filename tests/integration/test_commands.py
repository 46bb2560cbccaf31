"""`processor run --once`, `produce`, `check` and a clean stop, as processes on a real Kafka."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from processor.sandbox.demo.judge import CATEGORY_FIELD, CODE_FIELD, VERSION_FIELD
from processor.sandbox.org.server import Fault, FaultKind, RequestKind
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger, header
from tests.integration.stage import PARTITIONS, Process, Stage, past_traffic, wait
from tests.support.needs import do_without
from tests.support.patience import patient

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "data" / "delivery_reports.jsonl"
SEED = 20_260_201


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def without_times(log: str) -> str:
    """Only what a command has to say, not its log lines."""
    return "\n".join(line for line in log.splitlines() if not line.startswith("time="))


# -- /metrics, /healthz, /readyz ---------------------------------------------------------------


def promtool() -> str:
    fetched = ROOT / ".cache" / "promtool" / "usr" / "bin"
    found = shutil.which("promtool", path=f"{os.environ['PATH']}:{fetched}")
    if found is None:
        do_without("promtool (Debian's prometheus) is not on the PATH")
    return found


def test_a_running_process_tells_its_health_and_metrics_that_promtool_accepts(
    stage: Stage,
) -> None:
    tool = promtool()
    traffic = past_traffic(100, SEED)
    stage.org.add_tasks(expected(traffic).tasks)
    process = stage.start("one")

    wait("it answers", lambda: process.get("/healthz"))
    wait("ready", process.ready)
    stage.feed(traffic).join()
    Ledger(stage).wait_until_settled()

    health, metrics = process.get("/healthz"), process.get("/metrics")
    assert health is not None
    assert metrics is not None
    assert health.status_code == 200
    done = subprocess.run(
        [tool, "check", "metrics"], input=metrics.content, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_process_is_ready_while_the_org_is_down_and_tells_of_it_by_a_metric(
    stage: Stage,
) -> None:
    stage.org.inject(Fault(FaultKind.UNAVAILABLE, request=RequestKind.TOKEN, duration_s=600))
    process = stage.start("one")
    wait("ready", process.ready)
    org_ready = "sms_processor_salesforce_ready"
    assert process.metric(org_ready) == 0
    assert "# TYPE " + org_ready in process.get("/metrics").text  # type: ignore[union-attr]
    stage.org.clear_faults()
    wait("the org is back", lambda: process.metric(org_ready) == 1)


# -- produce, and run --once -------------------------------------------------------------------


def test_documented_reports_go_from_a_file_to_salesforce_and_each_bad_line_is_told(
    stage: Stage,
) -> None:
    stage.org.add_tasks(f"00T5g00000AbCd{number}EAF" for number in (1, 2, 4, 6))

    producer = stage.start("produce", "produce", "--keep-time", str(SAMPLES))
    assert producer.wait() == 1
    said = without_times(producer.log())
    bad = {int(line) for line in re.findall(r"delivery_reports\.jsonl:(\d+): ", said)}
    sent = re.search(r"^sent (\d+), bad (\d+)$", said, re.MULTILINE)
    assert sent is not None
    assert bad == set(range(9, 17))
    assert [int(count) for count in sent.groups()] == [8, 8]

    once = stage.start("once", "run", "--once")
    assert once.wait() == 0
    tasks = {task["Id"]: task for task in stage.org.tasks()}
    found = {task_id: (task[CODE_FIELD], task[CATEGORY_FIELD]) for task_id, task in tasks.items()}
    assert found == {
        "00T5g00000AbCd1EAF": ("220", "Delivery"),
        "00T5g00000AbCd2EAF": ("220", "Delivery"),
        "00T5g00000AbCd4EAF": ("220", "Delivery"),
        "00T5g00000AbCd6EAF": ("301", "Discarded"),
    }


def test_old_reports_are_not_sent_as_of_today_and_reports_without_a_task_are_told(
    stage: Stage, tmp_path: Path
) -> None:
    fresh = datetime.now(UTC).isoformat()
    file = tmp_path / "fresh.jsonl"
    file.write_text(
        f'{{"message_id": "a", "status_code": 220, "date_received": "{fresh}"}}\n'
        '{"message_id": "b", "status_code": 220, "date_received": "2024-04-16T23:39:25Z"}\n'
    )
    producer = stage.start("produce", "produce", str(file))
    assert producer.wait() == 1
    said = producer.log()
    assert "sent 1, bad 0" in said
    assert "1 reports are older than STATE__RETENTION_S (7 days), and were not sent" in said
    assert "Send them with --keep-time" in said
    assert "1 of the reports that were sent name no Task (metadata salesforce_task_id)" in said
    assert stage.start("again", "produce", "--keep-time", str(file)).wait() == 0
    assert len(stage.cluster.read(stage.names.events)) == 3


def test_produce_says_within_seconds_that_kafka_is_away_and_why(stage: Stage) -> None:
    began = time.monotonic()
    process = stage.start(
        "produce", "produce", str(SAMPLES), KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:9"
    )
    code, said = ended(process)
    assert code == 75
    assert "refused" in said
    assert time.monotonic() - began < 40  # it was a minute


def test_a_topic_that_takes_small_batches_only_is_written_by_produce(
    stage: Stage, tmp_path: Path
) -> None:
    """Of 300 reports 282 were refused, because the topic's limit is held against a batch."""
    small = f"small-{stage.names.events}"
    stage.cluster.create(small, 1, {"max.message.bytes": "20000"})
    file = tmp_path / "many.jsonl"
    file.write_text(
        "".join(
            json.dumps({"message_id": f"m{n}", "status_code": 220, "original_text": text}) + "\n"
            for n, text in enumerate(os.urandom(500).hex() for _ in range(300))
        )
    )
    producer = stage.start("produce", "produce", str(file), KAFKA__EVENTS_TOPIC=small)
    assert (producer.wait(), "sent 300, bad 0" in producer.log()) == (0, True)


def test_topics_that_take_small_batches_only_are_written_by_run(stage: Stage) -> None:
    """A backlog's statuses in one batch were refused, at every start; `check` found all well."""
    traffic = past_traffic(1_500, SEED + 5)
    stage.org.add_tasks(expected(traffic).tasks)
    small = {"max.message.bytes": "20000", "retention.ms": "-1"}
    stage.cluster.create(stage.names.status, PARTITIONS, small | {"cleanup.policy": "compact"})
    stage.cluster.create(stage.names.dead_letter, PARTITIONS, small)
    stage.feed(traffic).join()
    assert stage.start("one", "run", "--once", "--timeout", "90").wait(120) == 0
    Ledger(stage).check_all_right(traffic)


def test_run_once_reads_to_the_end_writes_all_and_exits(stage: Stage) -> None:
    traffic = past_traffic(300, SEED + 1)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.feed(traffic).join()

    assert stage.start("one", "run", "--once").wait() == 0

    assert stage.unread() == 0
    ledger = Ledger(stage)
    assert ledger.owed() == 0
    ledger.check_all_right(traffic)


def test_run_once_gives_up_at_its_timeout_and_the_next_run_writes_what_is_owed(
    stage: Stage,
) -> None:
    traffic = past_traffic(100, SEED + 2)
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    stage.feed(traffic).join()
    stage.org.stop()

    began = stage.start("one", "run", "--once", "--timeout", str(patient(6)))
    assert began.wait() == 1
    ledger = Ledger(stage)
    assert (stage.unread(), ledger.owed()) == (0, len(wanted.tasks))

    stage.org.start()
    assert stage.start("one", "run", "--once").wait() == 0
    assert ledger.owed() == 0
    ledger.check_all_right(traffic)


# -- a clean stop ------------------------------------------------------------------------------


def test_sigterm_settles_what_is_in_flight_and_a_restart_writes_nothing_twice(
    stage: Stage,
) -> None:
    traffic = past_traffic(600, SEED + 3)
    stage.org.add_tasks(expected(traffic).tasks)
    (process,) = stage.start_ready("one")
    stage.org.inject(Fault(FaultKind.SLOW, delay_s=0.5, duration_s=60))
    feed = stage.feed(traffic, per_s=400)
    wait("rows are on their way", lambda: len(stage.org.writes()) > 100)

    assert process.stop() == 0
    written = {write.task_id: write.fields[VERSION_FIELD] for write in stage.org.writes()}
    ledger = Ledger(stage)
    ledger.owed()
    settled = {
        state.task_id[:15]: state.settled_version
        for state in ledger.latest.values()
        if state.task_id and state.settled_version
    }
    assert settled == {task_id[:15]: version for task_id, version in written.items()}

    feed.join()
    stage.org.clear_faults()
    again = stage.start("one")
    ledger.wait_until_settled()
    ledger.check_all_right(traffic)
    assert again.stop(number=signal.SIGINT) == 0
    writes = Counter((w.task_id, w.fields[VERSION_FIELD]) for w in stage.org.writes())
    assert [write for write, times in writes.items() if times > 1] == []


# -- check -------------------------------------------------------------------------------------


def checked(stage: Stage, name: str, **settings: str) -> tuple[int, str]:
    process = stage.start(name, "check", **settings)
    return process.wait(), without_times(process.log())


@pytest.mark.registry
def test_check_says_ok_to_everything_that_is_as_it_must_be(
    kafka: Broker, registry_url: str, tmp_path: Path
) -> None:
    stage = Stage(kafka.bootstrap_servers, tmp_path, registry_url=registry_url)
    try:
        code, said = checked(stage, "check")
    finally:
        stage.close()
    assert code == 0, said
    assert {line.split()[0] for line in said.splitlines()} == {"ok"}
    assert {line.split()[1] for line in said.splitlines()} == {
        "kafka:",
        "registry:",
        "salesforce:",
        "state:",
    }


@pytest.mark.registry
def test_neither_check_nor_run_nor_produce_registers_a_schema(
    kafka: Broker, registry_url: str, tmp_path: Path
) -> None:
    stage = Stage(kafka.bootstrap_servers, tmp_path, registry_url=registry_url)
    subjects = [f"{stage.names.status}-value", f"{stage.names.events}-value"]
    no = {"SCHEMA_REGISTRY__REGISTER": "false"}

    def there() -> list[str]:
        known = requests.get(f"{registry_url}/subjects", timeout=10).json()
        return [subject for subject in subjects if subject in known]

    try:
        code, said = checked(stage, "check", **no)
        assert code == 1
        assert f"under the subject {subjects[0]}: run `processor schemas register`" in said
        code, said = ended(stage.start("run", **no))
        assert code == 2
        assert f"under the subject {subjects[0]}: run `processor schemas register`" in said
        code, said = ended(stage.start("produce", "produce", str(SAMPLES), **no))
        assert code == 2
        assert there() == []
        assert stage.start("register", "schemas", "register", **no).wait() == 0
        assert there() == subjects
        assert checked(stage, "again", **no)[0] == 0
    finally:
        stage.close()


def test_check_says_what_to_change_and_goes_on_to_the_next_part(stage: Stage) -> None:
    code, said = checked(
        stage,
        "check",
        KAFKA__EVENTS_TOPIC="no-such-topic",
        SCHEMA_REGISTRY__URL="http://127.0.0.1:9/",
        SALESFORCE__FIELDS='{"No_Such_Field__c": "code"}',
    )
    wrong = [line for line in said.splitlines() if line.startswith("CHANGE")]
    assert code == 1
    assert [line.split()[1] for line in wrong] == ["kafka:", "registry:", "salesforce:"]
    assert "no-such-topic" in wrong[0]
    assert "No_Such_Field__c" in wrong[2]


def test_check_gives_advice_where_run_only_warns(stage: Stage) -> None:
    small = f"small-{stage.names.dead_letter}"
    stage.cluster.create(small, 1, {"max.message.bytes": "1000", "retention.ms": "-1"})
    code, said = checked(stage, "check", KAFKA__DEAD_LETTER_TOPIC=small)
    assert code == 0, said
    (advice,) = [line for line in said.splitlines() if not line.startswith("ok ")]
    assert advice.startswith(f"ADVICE  kafka: {small} takes records of 1000 bytes")


def test_check_says_where_no_store_can_be(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    code, said = checked(stage, "check", STATE__DIR=str(file / "state"))
    assert code == 1
    assert f"CHANGE  state: STATE__DIR {file / 'state'} is not there and can't be made" in said


def test_check_does_not_throw_out_the_process_that_runs(stage: Stage) -> None:
    named = f"{stage.names.group_id}-one"
    (process,) = stage.start_ready("one")
    code, said = checked(stage, "check", KAFKA__TRANSACTIONAL_ID=named)
    assert code == 0, said
    assert f"transactional id {named}: not tried" in said
    assert "fenced" not in process.log()
    assert process.stop() == 0
    code, said = checked(stage, "again", KAFKA__TRANSACTIONAL_ID=named)
    assert code == 0, said
    assert f"transactional id {named}: we may use it" in said


def test_a_wrong_secret_is_told_without_repeating_it(stage: Stage) -> None:
    code, said = checked(stage, "check", SALESFORCE__CONSUMER_SECRET="s3cr3t-and-wrong")
    assert code == 1
    assert "CHANGE  salesforce:" in said
    assert "s3cr3t" not in said


# -- exit codes --------------------------------------------------------------------------------


def ended(process: Process) -> tuple[int, str]:
    return process.wait(90), without_times(process.log())


def test_wrong_settings_end_with_2_and_all_of_them_are_told_at_once(stage: Stage) -> None:
    code, said = ended(
        stage.start("one", KAFKA__SESSION_TIMEOUT_S="6", SALESFORCE__FAILURE_HOLD_S="soon")
    )
    assert code == 2
    assert "2 settings are wrong" in said
    assert "KAFKA__SESSION_TIMEOUT_S" in said
    assert "SALESFORCE__FAILURE_HOLD_S" in said


def test_a_field_that_the_org_does_not_have_ends_with_2(stage: Stage) -> None:
    code, said = ended(stage.start("one", SALESFORCE__FIELDS='{"No_Such_Field__c": "code"}'))
    assert code == 2
    assert "No_Such_Field__c" in said


def test_brokers_that_do_not_answer_end_with_75(stage: Stage) -> None:
    code, said = ended(stage.start("one", KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:9"))
    assert code == 75
    assert said.startswith("processor: ")


def test_the_reason_of_a_row_that_salesforce_refuses_is_in_one_dead_letter(stage: Stage) -> None:
    traffic = past_traffic(60, SEED + 4)
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    gone = next(iter(wanted.tasks))
    stage.org.delete_tasks([gone])
    stage.feed(traffic).join()

    assert stage.start("one", "run", "--once").wait() == 0

    ledger = Ledger(stage)
    ledger.letters.read()
    refused = [r for r in ledger.letters.records if header(r, "stage") == "salesforce"]
    assert [(r.key() or b"").decode() for r in refused] == [wanted.tasks[gone].message_id]
    assert header(refused[0], "exception.class.name") == "ENTITY_IS_DELETED"
    assert ("processor.status.topic", stage.names.status.encode()) in (refused[0].headers() or [])

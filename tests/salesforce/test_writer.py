"""The Salesforce writer against the sandbox org over HTTP: what it does when nothing is wrong,
and what it does with rows that are. What every writer does is in `tests/contracts`.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from processor.core.settle import Differs, Reject, Retry, Settled, Stop
from processor.ports import Owed
from processor.salesforce.verdicts import MALFORMED_ID
from processor.sandbox.org.server import (
    Fault,
    FaultKind,
    OrgSettings,
    RequestKind,
    SandboxOrg,
    task_fields,
)
from tests.salesforce.writer_bench import Bench, kinds, owed, task_id, until
from tests.support.parts import writing

TASKS = 3_000


def test_a_row_is_written_and_settled(bench: Bench) -> None:
    assert bench.write_one(owed(1, 402)) == Settled()
    task = bench.org.task(task_id(1))
    assert (task["SMS_Status__c"], task["SMS_Status_Code__c"]) == ("Delivery", "402")
    assert bench.meter.rows_by_result == {"settled": 1}
    assert bench.meter.requests["collections", "ok"] == 1
    assert bench.meter.usage is not None


def test_it_logs_in_before_the_first_row_and_only_once(bench: Bench) -> None:
    assert bench.org.stats()["logins"] == 1
    bench.write([owed(n) for n in range(500)])
    assert bench.org.stats()["logins"] == 1
    assert bench.meter.logins == {"ok": 1}


def test_thousands_of_rows_take_a_few_calls(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    verdicts = bench.write([owed(n, 221) for n in range(TASKS)])
    assert kinds(verdicts.values()) == {"Settled": TASKS}
    assert bench.requests("composite") <= 5
    assert {bench.org.task(task_id(n))["SMS_Status_Code__c"] for n in range(TASKS)} == {"221"}


def test_assignment_rules_are_off_in_plain_and_in_composite_requests(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.write([owed(n) for n in range(1_000)])
    assert bench.requests("composite") > 0
    assert bench.org.stats()["writes_that_may_auto_assign"] == 0


def test_the_org_s_admins_can_see_who_makes_each_kind_of_request(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.write([owed(n) for n in range(1_000)])
    bench.write([owed(1, verify=True)])
    callers = bench.org.stats()["callers"]
    assert isinstance(callers, dict)
    assert callers.keys() == {
        "token",
        "describe",
        "collections_update",
        "composite",
        "collections_retrieve",
    }
    names = {name.partition("/")[0] for by_name in callers.values() for name in by_name}
    assert names == {"client=sms-status-processor sms-status-processor"}


def test_rows_that_come_within_the_linger_share_a_request(org: SandboxOrg) -> None:
    with Bench(org, settings=writing(linger_s=0.3)) as bench:
        bench.logged_in()
        for number in range(20):
            bench.writer.submit([owed(number)])
        bench.collect(20)
        assert bench.requests("collections_update") == 1


def test_a_malformed_id_is_counted_as_refused(bench: Bench) -> None:
    assert bench.write_one(owed(1)._replace(task_id="00T")) == Reject(MALFORMED_ID)
    assert bench.meter.rows_by_result == {"reject": 1}


@pytest.mark.parametrize("code_type", ["string", "double"])
def test_reading_back_tells_what_the_task_holds(code_type: str) -> None:
    fields = task_fields("double") if code_type == "double" else task_fields("string")
    with SandboxOrg(settings=OrgSettings(fields=fields)) as org:
        org.add_tasks(task_id(number) for number in range(4))
        with Bench(org) as bench:
            bench.logged_in().write([owed(n, 402) for n in range(3)])
            bench.org.delete_tasks([task_id(2)])
            writes = len(bench.org.writes())
            verdicts = bench.write([
                owed(0, 402, verify=True),
                owed(1, 403, verify=True),
                owed(2, 402, verify=True),  # gone
                owed(3, 402, verify=True),  # never written
            ])  # fmt: skip
            assert list(verdicts.values()).count(Settled()) == 1
            assert verdicts["m0", 1] == Settled()
            assert {verdicts[f"m{n}", 1] for n in (1, 2, 3)} == {Differs()}
            assert len(bench.org.writes()) == writes, "it only reads"
            assert bench.requests("collections_retrieve") == 1


def test_thousands_of_rows_are_read_back_with_one_call_for_two_thousand(bench: Bench) -> None:
    verdicts = bench.write([owed(n, verify=True) for n in range(TASKS)])
    assert kinds(verdicts.values()) == {"Differs": TASKS}
    assert bench.requests("collections_retrieve") == 2


def test_the_window_bounds_what_is_held(org: SandboxOrg) -> None:
    with Bench(org, settings=writing(window_rows=500)) as bench:
        bench.logged_in()
        assert bench.writer.room("default") == 500
        org.inject(Fault(FaultKind.SLOW, delay_s=0.5, count=2))
        bench.writer.submit([owed(n) for n in range(450)])
        assert bench.writer.room("default") == 50
        bench.collect(450)
        assert bench.writer.room("default") == 500


def test_a_row_of_another_org_is_a_bug(bench: Bench) -> None:
    with pytest.raises(ValueError, match="other"):
        bench.writer.submit([owed(1)._replace(org="other")])


# -- a request that is refused as a whole --------------------------------------------------------


def poisoned(number: int) -> Owed:
    """A value of a JSON type that the field can't take fails the whole request with 400."""
    row = owed(number)
    row.values["SMS_Status__c"] = ["not", "text"]
    return row


def test_a_row_that_fails_its_whole_request_is_found_by_halving(bench: Bench) -> None:
    rows = [owed(n) for n in range(1_000)]
    rows[333] = poisoned(333)
    verdicts = bench.write(rows)
    assert verdicts.pop(("m333", 1)) == Reject("JSON_PARSER_ERROR")
    assert set(verdicts.values()) == {Settled()}
    assert len(bench.org.writes()) == 999, "and nothing is written twice"
    assert bench.requests("collections_update", "composite") < 40


def test_when_every_row_fails_its_request_rejecting_ends_and_the_writer_stops(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    verdicts = bench.write([poisoned(n) for n in range(200)])
    counted = kinds(verdicts.values())
    assert counted["Reject"] <= 5
    assert counted["Stop"] >= 1
    assert sum(counted.values()) == 200
    assert all(v.whole_org for v in verdicts.values() if isinstance(v, Retry))
    assert [record.levelname for record in caplog.records][-1] == "ERROR"
    assert bench.writer.room("default") == 0


def test_halves_left_by_a_request_that_ends_during_a_pause_are_given_back(bench: Bench) -> None:
    """They were once held through the pause, where newer versions could not take their place."""
    bench.org.inject(Fault(FaultKind.SLOW, delay_s=0.4, task_id=task_id(1)))
    bench.writer.submit([poisoned(1), poisoned(2)])
    until(lambda: bench.requests("collections_update"), "in flight")
    bench.org.inject(Fault(FaultKind.UNAVAILABLE, task_id=task_id(3)))
    bench.writer.submit([owed(3)])
    verdicts = {r.message_id: r.verdict for r in bench.collect(3)}
    assert all(isinstance(v, Retry) and v.whole_org for v in verdicts.values())
    assert bench.requests("collections_update") == 2


def test_a_field_that_is_not_there_stops_the_writer_and_refuses_no_row(bench: Bench) -> None:
    rows = [owed(n)._replace(values={"Gone__c": 1}) for n in range(20)]
    verdicts = bench.write(rows)
    assert kinds(verdicts.values()) == {"Stop": 20}
    (verdict, *_) = verdicts.values()
    assert isinstance(verdict, Stop)
    assert "INVALID_FIELD" in verdict.what_to_change
    assert bench.writer.room("default") == 0
    bench.clock.skip(100.0)
    until(lambda: bench.writer.room("default"), "the pause is over")
    assert bench.write_one(owed(1)) == Settled()


# -- taking partitions away ------------------------------------------------------------------


def test_quiesce_ends_at_its_deadline_and_the_late_result_still_comes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.org.inject(Fault(FaultKind.SLOW, delay_s=1.0, request=RequestKind.COLLECTIONS_UPDATE))
    bench.writer.submit([owed(1)])
    until(lambda: bench.requests("collections_update"), "in flight")
    bench.writer.quiesce([0], 0.1)
    assert bench.writer.results() == []
    assert "rows in flight" in caplog.text
    assert bench.collect(1)[0].verdict == Settled()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_thread_reaches_the_worker(org: SandboxOrg) -> None:
    class Broken:
        def holds(self, partitions: Collection[int]) -> bool:
            raise KeyError("a bug")

    with Bench(org, lease=Broken()) as bench:
        bench.logged_in().writer.submit([owed(1)])
        bench.writer.wait(5.0)
        with pytest.raises(RuntimeError, match="failed"):
            bench.writer.results()
        bench.writer.quiesce([0], 5.0)

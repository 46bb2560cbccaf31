"""A few rows that are in trouble cost few calls, and keep no other row waiting. Over HTTP against
the sandbox org; a test's name has the figure from before it was so.
"""

from __future__ import annotations

import pytest

from processor.core.settle import Park, Reject, Retry, Settled
from processor.ports import Owed
from processor.sandbox.org.server import Fault, FaultKind
from tests.salesforce.writer_bench import Bench, kinds, owed, task_id

TASKS = 4_000
THROWS = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"


@pytest.fixture(autouse=True)
def _timed(bench: Bench) -> None:
    """A first request tells how long a row takes: until then none has several parts."""
    bench.write([owed(n) for n in range(200)])


def calls(bench: Bench) -> int:
    return bench.requests("collections_update", "composite")


def of_task(task: int, message: int) -> Owed:
    """A row of some message, for a Task that many name."""
    return owed(task, 221)._replace(message_id=f"other{message}")


def test_a_task_of_thousands_of_messages_takes_two_requests_and_not_one_for_each(
    bench: Bench,
) -> None:
    before = calls(bench)
    rows = [of_task(1, message) for message in range(3_000)]
    rows[-1].values["SMS_Status_Code__c"] = 402
    verdicts = bench.write([*rows, *(owed(n, 221) for n in range(2, 100))])
    assert kinds(verdicts.values()) == {"Settled": 3_098}
    assert bench.codes_written(1)[-1] == "402"
    assert calls(bench) - before <= 2


def test_of_a_task_s_messages_the_one_whose_values_are_refused_takes_no_other_with_it(
    bench: Bench,
) -> None:
    rows = [of_task(1, message) for message in range(3)]
    rows[-1].values["SMS_Status__c"] = "far too long" * 100
    verdicts = bench.write(rows)
    assert verdicts["other2", 1] == Reject("STRING_TOO_LONG")
    assert {verdicts["other0", 1], verdicts["other1", 1]} == {Settled()}


def test_a_few_locked_rows_leave_a_backlog_its_five_requests_and_not_fifty(bench: Bench) -> None:
    before = calls(bench)
    for number in (500, 1_500, 2_500, 3_500):
        bench.org.inject(Fault(FaultKind.LOCK, duration_s=60, task_id=task_id(number)))
    verdicts = bench.write([owed(n, 221) for n in range(TASKS)])
    assert kinds(verdicts.values()) == {"Settled": TASKS - 4, "Retry": 4}
    again = [owed(n, 221)._replace(again=True) for n in (500, 1_500, 2_500, 3_500)]
    assert kinds(bench.write(again).values()) == {"Retry": 4}
    bench.write([owed(n, 402) for n in range(TASKS)])
    assert calls(bench) - before <= 12


def test_many_locked_rows_make_requests_smaller_and_single(bench: Bench) -> None:
    bench.org.inject(Fault(FaultKind.LOCK, duration_s=60, probability=0.1, seed=1))
    bench.write([owed(n, 221) for n in range(1_000)])
    plain, began_s = bench.requests("collections_update"), bench.clock.monotonic_s()
    bench.org.inject(Fault(FaultKind.SLOW, count=2, delay_s=0.5))
    bench.write([owed(n, 402) for n in range(1_000)])
    assert bench.clock.monotonic_s() - began_s >= 1.0, "one after the other"
    assert bench.requests("collections_update") == plain, "two of five parts, of 100 rows each"


def test_a_row_for_which_a_trigger_throws_takes_none_of_its_request_with_it(bench: Bench) -> None:
    """231 good rows were sent again after minutes (p99 141 s)."""
    before = calls(bench)
    bench.org.inject(Fault(FaultKind.TRIGGER, duration_s=600, task_id=task_id(333), code=THROWS))
    began_s = bench.clock.monotonic_s()
    verdicts = bench.write([owed(n, 221) for n in range(1_000)])
    assert bench.clock.monotonic_s() - began_s < 10
    refused = verdicts.pop(("m333", 1))
    assert isinstance(refused, Retry)
    assert (refused.code, refused.whole_org) == (THROWS, False)
    assert set(verdicts.values()) == {Settled()}
    assert calls(bench) - before <= 20
    in_trouble = calls(bench)
    for _ in range(5):
        again = [owed(333, 221)._replace(again=True), owed(9_999, 221)._replace(again=True)]
        verdicts = bench.write([*again, *(owed(n, 402) for n in range(300))])
        assert kinds(verdicts.values()) == {"Settled": 300, "Retry": 1, "Park": 1}
    assert calls(bench) - in_trouble <= 5 * 4


def test_a_row_that_is_known_to_fail_alone_is_not_looked_for_again(bench: Bench) -> None:
    rows = [owed(n, 221)._replace(again=True) for n in (1, 2, 3)]
    for row in rows:
        bench.org.inject(Fault(FaultKind.TRIGGER, duration_s=600, task_id=row.task_id, code=THROWS))
    bench.write(rows)
    before = calls(bench)
    assert kinds(bench.write(rows).values()) == {"Retry": 3}
    assert calls(bench) - before == 1


def test_where_many_rows_have_failed_they_take_no_hundred_requests(bench: Bench) -> None:
    before = calls(bench)
    verdicts = bench.write([owed(n, 221)._replace(again=True) for n in range(2_000)])
    assert kinds(verdicts.values()) == {"Settled": 2_000}
    assert calls(bench) - before <= 40


def test_where_the_org_s_code_fails_for_every_row_halving_ends(bench: Bench) -> None:
    before = calls(bench)
    bench.org.inject(Fault(FaultKind.ROW_ERROR, duration_s=600, code=THROWS))
    verdicts = bench.write([owed(n, 221) for n in range(2_000)])
    assert kinds(verdicts.values()) == {"Retry": 2_000}
    assert calls(bench) - before <= 40


def test_a_task_that_is_made_after_its_message_is_looked_for_after_15_seconds_and_not_minutes(
    bench: Bench,
) -> None:
    verdict = bench.write_one(owed(9_999))
    assert isinstance(verdict, Park)
    assert verdict.after_s == 15

"""What `ports.Writer` says, as tests: run on the simulation's writer and org, and on the product's
writer with the sandbox org over HTTP. A subclass whose name begins with `Test` gives the fixture
`side`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from processor.core.settle import (
    Differs,
    Park,
    Reject,
    Retry,
    Settled,
    Stop,
    Unknown,
    Verdict,
)
from processor.ports import Result
from tests.contracts.org_kit import ABSENT, ORG, OrgSide


def is_given_back(verdict: Verdict) -> bool:
    """Not sent, and no fault of the row."""
    return isinstance(verdict, Retry) and verdict.whole_org


class RowsContract:
    """What becomes of a row."""

    def test_every_row_gives_one_result_and_its_task_holds_the_values(self, side: OrgSide) -> None:
        rows = [side.owed(number, 402, partition=number % 3) for number in range(10)]
        results = side.write(rows)
        assert Counter(results) == Counter(
            Result(row.message_id, row.partition, 1, Settled()) for row in rows
        )
        assert [side.codes_written(number) for number in range(10)] == [[402]] * 10

    def test_rows_take_room_until_their_result_is_there(self, side: OrgSide) -> None:
        room = side.writer.room(ORG)
        side.slow()
        side.writer.submit([side.owed(number) for number in range(4)])
        assert side.writer.room(ORG) == room - 4
        side.collect(4)
        assert side.writer.room(ORG) == room

    def test_there_is_no_room_for_another_org(self, side: OrgSide) -> None:
        assert side.writer.room(ORG) > 0
        assert side.writer.room("another") == 0

    def test_of_one_task_one_row_is_in_flight_at_a_time_and_the_last_one_stands(
        self, side: OrgSide
    ) -> None:
        codes = [101, 200, 210, 402, 102, 220]
        rows = [side.owed(7, code, version=n) for n, code in enumerate(codes, start=1)]
        # Both forms of the Id are one Task.
        rows = [row._replace(task_id=row.task_id[: 15 if row.version % 2 else 18]) for row in rows]
        side.slow()
        side.writer.submit(rows)
        side.until(lambda: side.requests() == 1)
        side.pass_on(0.2)
        assert side.requests() == 1
        results = side.collect(len(rows))
        versions = [result.version for result in results]
        assert versions == sorted(versions)
        assert {result.verdict for result in results} == {Settled()}
        written = side.codes_written(7)
        assert written == [code for code in codes if code in written], "in their order"
        assert written[-1] == codes[-1]
        assert side.requests() == len(written)

    @pytest.mark.parametrize(
        "ident",
        ["", "00T", "001000000000001", "00T000000000001AAA", "00t000000000001EAA", "x" * 18],
    )
    def test_a_malformed_id_is_refused_without_a_request(self, side: OrgSide, ident: str) -> None:
        verdict = side.write_one(side.owed(1)._replace(task_id=ident))
        assert isinstance(verdict, Reject)
        assert side.requests() == 0

    def test_one_row_that_fails_does_not_hold_up_the_others(self, side: OrgSide) -> None:
        side.refuse(1)
        numbers = (0, 1, ABSENT, 3)
        results = side.write([side.owed(number) for number in numbers])
        verdicts = {result.message_id: result.verdict for result in results}
        assert verdicts["m0"] == verdicts["m3"] == Settled()
        assert isinstance(verdicts["m1"], Reject)
        assert isinstance(verdicts[f"m{ABSENT}"], Park)
        assert [side.codes_written(number) for number in numbers] == [[220], [], [], [220]]

    def test_a_locked_row_is_to_be_handed_in_again(self, side: OrgSide) -> None:
        side.lock(1)
        verdict = side.write_one(side.owed(1))
        assert isinstance(verdict, Retry)
        assert verdict.after_s > 0
        assert not verdict.whole_org, "a row that is always locked is given up in the end"
        assert side.writer.room(ORG) > 0, "a lock is no pause"
        side.unlock()
        assert side.write_one(side.owed(1)) == Settled()

    def test_without_an_answer_the_outcome_is_unknown_and_reading_back_tells(
        self, side: OrgSide
    ) -> None:
        side.lose_the_answer()
        assert isinstance(side.write_one(side.owed(1, 402)), Unknown)
        side.let_everything_land()
        side.resume()
        landed = side.codes_written(1) == [402]
        verdict = side.write_one(side.owed(1, 402, verify=True))
        assert verdict == (Settled() if landed else Differs())

    def test_reading_back_tells_what_the_task_holds_and_only_reads(self, side: OrgSide) -> None:
        side.write([side.owed(number, 402) for number in range(3)])
        results = side.write([
            side.owed(0, 402, verify=True),
            side.owed(1, 403, verify=True),
            side.owed(2, 402, version=2, verify=True),
            side.owed(3, 402, verify=True),  # never written
            side.owed(ABSENT, 402, verify=True),
        ])  # fmt: skip
        verdicts = {result.message_id: result.verdict for result in results}
        assert verdicts["m0"] == verdicts["m2"] == Settled()
        assert verdicts["m1"] == verdicts["m3"] == verdicts[f"m{ABSENT}"] == Differs()
        assert [side.codes_written(n) for n in range(4)] == [[402], [402], [402], []]

    def test_reading_back_waits_for_the_write_before_it(self, side: OrgSide) -> None:
        side.slow()
        side.writer.submit([side.owed(1, 402), side.owed(1, 402, version=2, verify=True)])
        results = side.collect(2)
        assert [(r.version, r.verdict) for r in results] == [(1, Settled()), (2, Settled())]

    def test_a_read_without_an_answer_is_in_no_doubt(self, side: OrgSide) -> None:
        side.lose_the_answer()
        verdict = side.write_one(side.owed(1, 402, verify=True))
        assert isinstance(verdict, Retry)
        assert side.codes_written(1) == []

    def test_waiting_ends_with_the_first_result(self, side: OrgSide) -> None:
        side.writer.submit([side.owed(1)])
        side.writer.wait(30.0)
        assert [result.verdict for result in side.writer.results()] == [Settled()]


class OrgContract:
    """What the whole org does to its rows."""

    def test_an_ended_session_is_no_matter(self, side: OrgSide) -> None:
        side.end_the_session()
        assert side.write_one(side.owed(1)) == Settled()
        assert side.codes_written(1) == [220]

    @pytest.mark.parametrize("fault", ["limit", "down"])
    def test_an_org_that_refuses_for_a_while_is_paused_and_every_row_is_given_back(
        self, side: OrgSide, fault: str
    ) -> None:
        getattr(side, fault)()
        assert side.writer.ready()
        # Of one Task a row is in flight; the other is given back without a request.
        rows = [side.owed(1, 220, version=version) for version in (1, 2)]
        results = side.write(rows)
        assert all(is_given_back(result.verdict) for result in results)
        assert side.requests() == 1
        assert side.writer.room(ORG) == 0
        assert not side.writer.ready()
        # Whoever submits meanwhile gets it back at once, without a request.
        assert is_given_back(side.write_one(side.owed(2)))
        assert side.requests() == 1
        side.resume()
        assert side.writer.ready()
        assert side.write_one(side.owed(1)) == Settled()

    def test_an_org_that_wants_something_changed_stops_the_rows_and_is_paused(
        self, side: OrgSide
    ) -> None:
        side.stop()
        verdict = side.write_one(side.owed(1))
        assert isinstance(verdict, Stop)
        assert verdict.what_to_change
        assert side.writer.room(ORG) == 0
        side.resume()
        assert side.write_one(side.owed(1)) == Settled()

    def test_the_lease_is_asked_for_the_partitions_of_each_request(self, side: OrgSide) -> None:
        side.lease.refused = {1}
        assert side.write_one(side.owed(0, partition=0)) == Settled()
        assert side.requests() == 1
        assert is_given_back(side.write_one(side.owed(1, partition=1)))
        assert is_given_back(side.write_one(side.owed(1, partition=1, verify=True)))
        assert side.requests() == 1
        assert side.codes_written(1) == []
        assert [set(asked) for asked in side.lease.asked] == [{0}, {1}, {1}]
        side.lease.refused = set()
        assert side.write_one(side.owed(1, partition=1)) == Settled()


class TakingAwayContract:
    """Partitions are taken away from the writer."""

    def test_quiesce_gives_back_what_waits_and_awaits_what_is_in_flight(
        self, side: OrgSide
    ) -> None:
        side.slow()
        side.writer.submit([side.owed(1)])
        side.until(lambda: side.requests() == 1)
        # The second row of the Task can't be sent; the other partition's row stays.
        side.writer.submit([
            side.owed(1, 221, version=2),
            side.owed(1, 400, version=3, partition=5),
        ])  # fmt: skip
        side.writer.quiesce([0], 10.0)
        results = {(r.partition, r.version): r.verdict for r in side.writer.results()}
        assert results[0, 1] == Settled()
        assert is_given_back(results[0, 2])
        if (5, 3) not in results:
            assert [r.verdict for r in side.collect(1)] == [Settled()]
        assert side.codes_written(1) == [220, 400]

    def test_quiesce_ends_at_its_deadline_and_the_late_result_still_comes(
        self, side: OrgSide
    ) -> None:
        side.slow()
        side.writer.submit([side.owed(1)])
        side.until(lambda: side.requests() == 1)
        side.writer.quiesce([0], 0.05)
        assert side.writer.results() == []
        assert [result.verdict for result in side.collect(1)] == [Settled()]

    def test_dropped_rows_give_no_result_and_the_task_stays_busy_until_the_answer(
        self, side: OrgSide
    ) -> None:
        side.slow()
        side.writer.submit([side.owed(1, 402), side.owed(2, 402, partition=5)])
        side.until(lambda: side.requests() == 1)
        side.writer.submit([side.owed(3)])
        side.writer.drop([0])
        side.writer.submit([side.owed(1, 220, version=2)])  # it has come back to us
        results = side.collect(2)
        assert {(r.message_id, r.version) for r in results} == {("m2", 1), ("m1", 2)}
        assert side.codes_written(1) == [402, 220]
        assert side.codes_written(3) == []

    def test_results_of_a_dropped_partition_are_gone_even_if_they_were_there(
        self, side: OrgSide
    ) -> None:
        room = side.writer.room(ORG)
        side.writer.submit([side.owed(1), side.owed(2, partition=5)])
        side.until(lambda: side.writer.room(ORG) == room)
        side.writer.drop([0])
        assert [result.message_id for result in side.writer.results()] == ["m2"]

    def test_a_request_of_a_quiesced_partition_is_not_sent_again_after_a_new_login(
        self, side: OrgSide
    ) -> None:
        side.end_the_session(slowly=True)
        side.writer.submit([side.owed(1)])
        side.until(lambda: side.requests() == 1)
        side.writer.quiesce([0], 10.0)
        (result,) = side.writer.results()
        assert is_given_back(result.verdict)
        assert side.codes_written(1) == []
        assert side.requests() == 1

    def test_closing_gives_back_what_was_not_sent_and_awaits_the_rest(self, side: OrgSide) -> None:
        side.slow()
        side.writer.submit([side.owed(1)])
        side.until(lambda: side.requests() == 1)
        side.writer.submit([side.owed(1, 221, version=2)])
        side.writer.close(10.0)
        verdicts = {result.version: result.verdict for result in side.writer.results()}
        assert verdicts[1] == Settled()
        assert is_given_back(verdicts[2])
        assert side.writer.room(ORG) == 0
        side.writer.submit([side.owed(2)])
        assert [is_given_back(result.verdict) for result in side.writer.results()] == [True]
        assert side.codes_written(1) == [220]

"""The Salesforce writer against the sandbox org over HTTP, with everything that can go wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from processor.core.settle import Differs, Retry, Settled, Stop, Unknown
from processor.salesforce.writer import ORG_PAUSED
from processor.sandbox.org.server import Fault, FaultKind, RequestKind, SandboxOrg
from tests.salesforce.writer_bench import Bench, kinds, owed, task_id, until
from tests.support.log_lines import text_of

TASKS = 1_500
WRITE = RequestKind.COLLECTIONS_UPDATE


@pytest.fixture
def hasty(org: SandboxOrg) -> Iterator[Bench]:
    """One that waits for no answer longer than half a second (on an idle machine)."""
    with Bench(org, timeout_s=0.5) as bench:
        yield bench.logged_in()


def recovered(bench: Bench) -> None:
    """The pause is over, and rows are written again."""
    until(lambda: bench.writer.room("default"), "room again")
    verdicts = bench.write([owed(n, 221, version=99) for n in range(1_000, 1_010)])
    assert set(verdicts.values()) == {Settled()}
    assert bench.meter.pauses[-1] == 0.0


# -- locks -------------------------------------------------------------------------------------


def test_locked_rows_come_back_the_others_are_written_and_requests_get_smaller(
    bench: Bench,
) -> None:
    for number in (3, 4):
        bench.org.inject(Fault(FaultKind.LOCK, task_id=task_id(number)))
    verdicts = bench.write([owed(n) for n in range(10)])
    for number in (3, 4):
        locked = verdicts.pop((f"m{number}", 1))
        assert isinstance(locked, Retry)
        assert locked.code == "UNABLE_TO_LOCK_ROW"
        assert 0 < locked.after_s <= 10
        assert not locked.whole_org, "a row that is always locked is given up in the end"
    assert set(verdicts.values()) == {Settled()}
    assert bench.writer.room("default") > 0, "a lock is no pause"

    bench.write([owed(n) for n in range(100)])
    before = bench.requests("collections_update", "composite")
    bench.write([owed(n) for n in range(200)])
    subrequests = bench.org.stats()["subrequests"]
    assert isinstance(subrequests, dict)
    assert subrequests.get("collections_update") == 2, "100 rows each"
    assert bench.requests("collections_update", "composite") == before + 1


def test_other_errors_of_a_row_are_retried_by_their_code(bench: Bench) -> None:
    bench.org.inject(Fault(FaultKind.ROW_ERROR, code="CANNOT_EXECUTE_FLOW_TRIGGER"))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.after_s >= 60


# -- the session -------------------------------------------------------------------------------


def test_an_expired_session_is_renewed_and_the_request_sent_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.org.expire_tokens()
    assert bench.write_one(owed(1)) == Settled()
    assert bench.org.stats()["logins"] == 2
    assert len(bench.org.writes()) == 1
    assert caplog.text == ""


def test_threads_that_find_the_session_expired_together_log_in_once(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.expire_tokens()
    bench.writer.submit([owed(n) for n in range(TASKS)])
    assert kinds(r.verdict for r in bench.collect(TASKS)) == {"Settled": TASKS}
    assert bench.org.stats()["logins"] == 2


def test_a_session_that_is_refused_for_ever_is_tried_twice_and_reported(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.org.inject(Fault(FaultKind.SESSION, duration_s=60.0, request=WRITE))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.whole_org
    assert verdict.after_s > 4
    assert bench.requests("collections_update") == 2
    assert bench.org.stats()["logins"] == 2
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "'API Enabled'" in text_of(caplog.records)
    assert bench.writer.room("default") == 0
    bench.org.clear_faults()
    bench.clock.skip(100.0)
    recovered(bench)


def test_a_part_of_a_composite_may_be_told_that_the_session_has_ended(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.inject(Fault(FaultKind.SESSION, request=RequestKind.SUBREQUEST))
    verdicts = bench.write([owed(n, 221) for n in range(1_000)])
    assert kinds(verdicts.values()) == {"Settled": 800, "Retry": 200}
    assert bench.org.stats()["logins"] == 2
    recovered_rows = bench.write([owed(n, 221) for n in range(200)])
    assert set(recovered_rows.values()) == {Settled()}


# -- limits and outages ------------------------------------------------------------------------


def test_a_spent_allocation_pauses_for_minutes_and_every_row_is_given_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.set_limit(calls_max=1_000, used=1_000)
    # Of each Task one row can be in flight; the other is given back without a request.
    verdicts = bench.write([owed(n, 221, version=v) for v in (2, 3) for n in range(TASKS)])
    assert all(isinstance(v, Retry) and v.whole_org for v in verdicts.values())
    assert all(isinstance(v, Retry) and v.after_s > 600 for v in verdicts.values())
    assert ORG_PAUSED in {v.code for v in verdicts.values() if isinstance(v, Retry)}
    assert bench.writer.room("default") == 0
    assert "kind=daily_limit" in text_of(caplog.records)
    assert bench.meter.usage == (1_000, 1_000)
    assert bench.meter.pauses[-1] > bench.clock.now_ms() / 1000 + 600
    asked = bench.requests("collections_update", "composite")
    bench.org.set_limit(used=0)
    # Whoever submits during the pause gets it back at once, without a request.
    assert isinstance(bench.write_one(owed(5)), Retry)
    assert bench.requests("collections_update", "composite") == asked
    bench.clock.skip(1_200.0)
    recovered(bench)


def test_too_many_requests_at_once_is_a_short_pause(bench: Bench) -> None:
    bench.org.inject(Fault(FaultKind.LIMIT))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.whole_org
    assert 1.5 < verdict.after_s < 3.5


def test_too_many_requests_at_once_are_not_the_daily_limit_although_it_is_near(
    bench: Bench,
) -> None:
    bench.org.set_limit(calls_max=1_000, used=995)
    bench.org.inject(Fault(FaultKind.LIMIT))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.after_s < 3.5


def test_after_a_pause_one_request_goes_ahead(bench: Bench) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.inject(Fault(FaultKind.UNAVAILABLE, request=WRITE))
    bench.write_one(owed(1))
    until(lambda: bench.writer.room("default"), "room again")
    bench.org.inject(Fault(FaultKind.SLOW, delay_s=0.5))
    asked = bench.requests("collections_update", "composite")
    bench.writer.submit([owed(n, 221) for n in range(TASKS)])
    until(lambda: bench.requests("collections_update", "composite") > asked, "the probe")
    results = bench.collect(200)
    assert kinds(r.verdict for r in results) == {"Settled": 200}, "of the probe alone"
    assert kinds(r.verdict for r in bench.collect(TASKS - 200)) == {"Settled": TASKS - 200}


def test_an_org_that_says_it_is_unavailable_has_taken_nothing(bench: Bench) -> None:
    bench.org.inject(Fault(FaultKind.UNAVAILABLE, request=WRITE))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.whole_org
    assert 1.0 <= verdict.after_s <= 4.0
    assert not bench.writer.ready()
    recovered(bench)
    assert bench.writer.ready()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(FaultKind.HTML, request=WRITE), "HTTP_503"),
        (Fault(FaultKind.HTML, status=502, request=WRITE), "HTTP_502"),
        (Fault(FaultKind.UNAVAILABLE, status=500, request=WRITE), "SERVER_UNAVAILABLE"),
        (Fault(FaultKind.RESET_BEFORE, request=WRITE), "ConnectionError"),
        (Fault(FaultKind.RESET_AFTER, request=WRITE), "ConnectionError"),
        (Fault(FaultKind.TRUNCATED, request=WRITE), "ChunkedEncodingError"),
        (Fault(FaultKind.SLOW, delay_s=60.0, request=WRITE), "ReadTimeout"),
        (Fault(FaultKind.LATE, delay_s=60.0, request=WRITE), "ReadTimeout"),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else value,
)
def test_without_a_clear_answer_the_outcome_is_unknown(
    hasty: Bench, fault: Fault, why: str
) -> None:
    hasty.org.inject(fault)
    assert hasty.write_one(owed(1)) == Unknown(why)
    assert hasty.meter.rows_by_result == {"unknown": 1}
    recovered(hasty)


def test_html_from_the_edge_before_any_instance_is_not_unknown(bench: Bench) -> None:
    bench.org.inject(Fault(FaultKind.HTML, status=420, request=WRITE))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Retry)
    assert verdict.whole_org


def test_the_same_of_a_composite(hasty: Bench) -> None:
    hasty.write([owed(n) for n in range(200)])
    hasty.org.inject(Fault(FaultKind.RESET_AFTER, request=RequestKind.COMPOSITE))
    verdicts = hasty.write([owed(n, 221) for n in range(1_000)])
    assert kinds(verdicts.values()) == {"Unknown": 1_000}
    assert len(hasty.org.writes()) == 1_200, "and yet all were written"


@pytest.mark.parametrize("kind", [FaultKind.LIMIT, FaultKind.UNAVAILABLE])
def test_one_part_of_a_composite_may_fail_alone(bench: Bench, kind: FaultKind) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.inject(Fault(kind, request=RequestKind.SUBREQUEST))
    verdicts = bench.write([owed(n, 221) for n in range(1_000)])
    assert kinds(verdicts.values()) == {"Settled": 800, "Retry": 200}
    assert bench.writer.room("default") == 0


def test_an_old_value_that_lands_late_is_seen_when_it_is_read_back(hasty: Bench) -> None:
    hasty.org.inject(Fault(FaultKind.LATE, delay_s=60.0, drop=True, request=WRITE))
    assert hasty.write_one(owed(1, 402)) == Unknown("ConnectionError")
    until(lambda: hasty.writer.room("default"), "room again")
    assert hasty.write_one(owed(1, 220, version=2)) == Settled()
    assert hasty.write_one(owed(1, 220, version=2, verify=True)) == Settled()
    assert hasty.org.release_late() == 1
    assert hasty.write_one(owed(1, 220, version=2, verify=True)) == Differs()
    assert hasty.write_one(owed(1, 220, version=2)) == Settled()
    assert hasty.codes_written(1) == ["220", "402", "220"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.HTML, request=RequestKind.COLLECTIONS_RETRIEVE),
        Fault(FaultKind.RESET_BEFORE, request=RequestKind.COLLECTIONS_RETRIEVE),
        Fault(FaultKind.SLOW, delay_s=60.0, request=RequestKind.COLLECTIONS_RETRIEVE),
        Fault(FaultKind.TRUNCATED, request=RequestKind.COLLECTIONS_RETRIEVE),
    ],
    ids=lambda fault: fault.kind.value,
)
def test_a_read_that_fails_is_done_again(hasty: Bench, fault: Fault) -> None:
    hasty.write_one(owed(1))
    hasty.org.inject(fault)
    verdict = hasty.write_one(owed(1, verify=True))
    assert isinstance(verdict, Retry)
    until(lambda: hasty.writer.room("default"), "room again")
    assert hasty.write_one(owed(1, verify=True)) == Settled()


def test_timeouts_make_requests_smaller(hasty: Bench) -> None:
    hasty.org.inject(Fault(FaultKind.SLOW, delay_s=60.0, request=WRITE))
    assert kinds(hasty.write([owed(n) for n in range(200)]).values()) == {"Unknown": 200}
    until(lambda: hasty.writer.room("default"), "room again")
    hasty.write([owed(0)])
    before = hasty.requests("collections_update")
    hasty.writer.submit([owed(n) for n in range(100)])
    hasty.collect(100)
    assert hasty.requests("collections_update") == before + 1


def test_an_org_that_is_not_reached_has_taken_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write([owed(n) for n in range(200)])
    bench.org.stop()
    bench.client.close()  # idle connections may end either way
    verdicts = bench.write([owed(n, 221) for n in range(1_000)])
    assert all(isinstance(v, Retry) and v.whole_org for v in verdicts.values())
    assert "kind=outage" in text_of(caplog.records)
    assert {r.levelname for r in caplog.records} == {"WARNING"}
    bench.org.start()
    recovered(bench)


def test_a_long_outage_is_met_with_longer_and_longer_pauses_and_ends_with_a_login(
    bench: Bench,
) -> None:
    bench.org.stop()
    waits: list[float] = []

    def has_paused() -> bool:
        return len(bench.meter.pauses) > len(waits)

    while len(waits) < 6:
        until(lambda: bench.writer.room("default") or has_paused(), "the pause is over")
        if not has_paused():
            bench.write_one(owed(1))
        until(has_paused, "another try")
        waits.append(bench.meter.pauses[len(waits)] - bench.clock.now_ms() / 1000)
        bench.clock.skip(waits[-1])
    assert waits[-1] > 20.0
    assert not bench.writer.room("default"), "rows stay where newer ones can take their place"
    bench.org.start()
    bench.clock.skip(60.0)
    recovered(bench)
    assert bench.org.stats()["logins"] == 2


# -- logging in --------------------------------------------------------------------------------


def test_a_login_that_is_refused_stops_every_row_and_says_what_to_change(
    org: SandboxOrg, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Bench(org, secret="not-the-secret") as bench:
        until(lambda: bench.meter.logins, "tried")
        until(lambda: caplog.records, "told")
        assert not bench.writer.ready()
        assert bench.writer.room("default") == 0
        verdict = bench.write_one(owed(1))
        assert isinstance(verdict, Stop)
        assert "invalid_client" in verdict.what_to_change
        errors = [r for r in caplog.records if r.levelname == "ERROR"]
        assert len(errors) == 1
        assert "invalid_client" in text_of(errors)
        assert "not-the-secret" not in text_of(caplog.records)


@pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.RESET_BEFORE, FaultKind.UNAVAILABLE])
def test_a_login_that_fails_for_a_while_is_tried_again(org: SandboxOrg, kind: FaultKind) -> None:
    org.inject(Fault(kind, request=RequestKind.TOKEN))
    with Bench(org) as bench:
        bench.logged_in()
        assert bench.write_one(owed(1)) == Settled()
        assert bench.meter.logins == {"unavailable": 1, "ok": 1}


def test_rows_wait_for_the_first_login_and_come_back_if_it_fails(org: SandboxOrg) -> None:
    org.inject(
        Fault(FaultKind.SLOW, delay_s=0.3, request=RequestKind.TOKEN),
        Fault(FaultKind.HTML, request=RequestKind.TOKEN),
    )
    with Bench(org) as bench:
        assert bench.write_one(owed(1)) == Settled()
    with Bench(org) as bench:
        until(lambda: bench.meter.logins, "tried")
        assert isinstance(bench.write_one(owed(1)), Retry)


def test_a_secret_that_changes_while_running_stops_the_writer(bench: Bench) -> None:
    bench.org.expire_tokens()
    bench.org.inject(Fault(FaultKind.HTML, status=404, request=RequestKind.TOKEN))
    verdict = bench.write_one(owed(1))
    assert isinstance(verdict, Stop)
    assert not bench.writer.ready()
    bench.clock.skip(100.0)
    until(bench.writer.ready, "the admin has acted")
    recovered(bench)


def test_no_token_or_value_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("processor").setLevel(logging.DEBUG)
    try:
        bench.org.inject(
            Fault(FaultKind.HTML, request=WRITE),
            Fault(FaultKind.LOCK, count=2),
            Fault(FaultKind.SESSION, request=WRITE),
        )
        for number in range(5):
            until(lambda: bench.writer.room("default"), "room")
            bench.write_one(owed(number))
    finally:
        logging.getLogger("processor").setLevel(logging.NOTSET)
    said = text_of(r for r in caplog.records if r.name.startswith("processor"))
    assert "paused" in said
    for private in ("Bearer", "00D0", "sandbox-consumer", "00T8d", "Delivery"):
        assert private not in said

"""What each answer means: the table of codes, row by row, beside Salesforce's list."""

from __future__ import annotations

from pathlib import Path
from random import Random

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
from processor.salesforce.status_codes import BY_CODE, CLASSES, Class
from processor.salesforce.verdicts import (
    MIN_ROWS_TO_BLAME_THE_ORG,
    Action,
    Pause,
    blames_the_org,
    fails_alike,
    is_crowded,
    judge,
    judge_row,
    speaks_for_the_task,
    whole_verdict,
)
from processor.salesforce.wire import NOT_JSON, Answer, NoAnswer

RNG = Random(1)
DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    ("code", "kind", "from_s", "to_s"),
    [
        ("UNABLE_TO_LOCK_ROW", Retry, 2, 10),
        ("TOO_MANY_APEX_REQUESTS", Retry, 2, 10),
        ("REQUEST_RUNNING_TOO_LONG", Retry, 2, 10),
        ("TXN_SECURITY_METERING_ERROR", Retry, 2, 10),
        ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Retry, 2, 10),
        ("PROCESSING_HALTED", Retry, 2, 10),
        ("CANNOT_EXECUTE_FLOW_TRIGGER", Retry, 60, 180),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Retry, 60, 180),
        ("APEX_ERROR", Retry, 60, 180),
        ("UNKNOWN_EXCEPTION", Retry, 60, 180),
        ("A_CODE_OF_A_LATER_RELEASE", Retry, 60, 180),
        ("NO_ERROR_CODE", Retry, 60, 180),
        ("ENTITY_IS_LOCKED", Retry, 720, 1_080),
        ("RECORD_IN_USE_BY_WORKFLOW", Retry, 720, 1_080),
        ("INVALID_CROSS_REFERENCE_KEY", Park, 15, 15),
        ("NOT_FOUND", Park, 15, 15),
        ("ENTITY_IS_DELETED", Reject, 0, 0),
        ("MALFORMED_ID", Reject, 0, 0),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", Reject, 0, 0),
        ("STRING_TOO_LONG", Reject, 0, 0),
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Reject, 0, 0),
        ("INSUFFICIENT_ACCESS_OR_READONLY", Reject, 0, 0),
        ("INACTIVE_OWNER_OR_USER", Reject, 0, 0),
        ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", Reject, 0, 0),
        ("DUPLICATE_VALUE", Reject, 0, 0),
        ("DUPLICATE_EXTERNAL_ID", Reject, 0, 0),
        ("INVALID_FIELD", Reject, 0, 0),
        ("API_DISABLED_FOR_ORG", Stop, 0, 0),
        ("STORAGE_LIMIT_EXCEEDED", Stop, 0, 0),
    ],
)
def test_the_code_of_a_row_decides(code: str, kind: type, from_s: float, to_s: float) -> None:
    for _ in range(20):
        verdict = judge_row(code, RNG).verdict
        assert type(verdict) is kind
        if isinstance(verdict, Retry):
            assert not verdict.whole_org, "its age ends it"
        if isinstance(verdict, Retry | Park):
            assert from_s <= verdict.after_s <= to_s
            assert verdict.code == code
        if isinstance(verdict, Reject):
            assert verdict.code == code


@pytest.mark.parametrize(
    ("code", "pause"),
    [
        ("REQUEST_LIMIT_EXCEEDED", Pause.CONCURRENT_LIMIT),
        ("SERVER_UNAVAILABLE", Pause.OUTAGE),
        ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Pause.OUTAGE),
        ("INVALID_SESSION_ID", None),
    ],
)
def test_a_row_that_suffers_for_the_org_is_not_held_responsible(
    code: str, pause: Pause | None
) -> None:
    row = judge_row(code, RNG)
    assert isinstance(row.verdict, Retry)
    assert row.verdict.whole_org
    assert row.pause is pause
    assert row.login is (code == "INVALID_SESSION_ID")


def test_locks_and_overload_ask_for_smaller_requests() -> None:
    asking = {code for code in BY_CODE if is_crowded([code] * 5 + [None] * 195)}
    assert asking == set(f"{CLASSES[Class.LOCK]} {CLASSES[Class.HEAVY]}".split())
    assert "UNABLE_TO_LOCK_ROW" in asking


@pytest.mark.parametrize(
    ("locked", "written", "crowded"),
    [(1, 0, False), (1, 9, False), (2, 0, True), (2, 98, True), (2, 99, False), (4, 196, True)],
)
def test_a_row_or_two_that_are_locked_by_somebody_else_say_nothing_of_the_rest(
    locked: int, written: int, crowded: bool
) -> None:
    assert is_crowded(["UNABLE_TO_LOCK_ROW"] * locked + [None] * written) is crowded


@pytest.mark.parametrize(
    ("codes", "alike"),
    [
        (["APEX_ERROR"], True),
        (["APEX_ERROR", "APEX_ERROR"], True),
        (["APEX_ERROR", None], False),
        (["APEX_ERROR", "FLOW_EXCEPTION"], False),
        (["UNABLE_TO_LOCK_ROW", "UNABLE_TO_LOCK_ROW"], False),
        (["NOT_FOUND", "NOT_FOUND"], False),
        ([None, None], False),
        ([], False),
    ],
)
def test_only_the_org_s_code_fails_all_rows_for_one(codes: list[str | None], alike: bool) -> None:
    assert fails_alike(codes) is alike


@pytest.mark.parametrize(
    ("verdict", "speaks"),
    [
        (Settled(), True),
        (Retry(2.0, "UNABLE_TO_LOCK_ROW"), True),
        (Retry(0.0, "ORG_PAUSED", whole_org=True), True),
        (Park(15.0, "NOT_FOUND"), True),
        (Stop("grant the field"), True),
        (Reject("ENTITY_IS_DELETED"), True),
        (Reject("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"), False),
        (Unknown("timeout"), False),
        (Differs(), False),
    ],
)
def test_which_answers_are_those_of_the_task(verdict: Verdict, speaks: bool) -> None:
    assert speaks_for_the_task(verdict) is speaks


def documented_codes() -> dict[str, str]:
    """Salesforce's lists of codes, each with its class here, or `-`."""
    lines = (DATA / "salesforce_status_codes.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def test_every_documented_code_is_in_the_table_or_is_of_no_concern_to_a_task() -> None:
    documented = documented_codes()
    ours = {code: kind.name for code, kind in BY_CODE.items()}
    assert ours == {code: kind for code, kind in documented.items() if kind != "-"}
    for code in documented.keys() - ours.keys():
        verdict = judge_row(code, RNG).verdict
        assert isinstance(verdict, Retry), "the org's automation may have made it"
        assert not verdict.whole_org, "its age ends it"


def test_no_code_has_two_meanings() -> None:
    listed = [code for codes in CLASSES.values() for code in codes.split()]
    assert len(listed) == len(set(listed)) == len(BY_CODE)


def error(code: str) -> list[dict[str, str]]:
    return [{"message": "Nachricht in der Sprache des Benutzers", "errorCode": code}]


HTML = NOT_JSON


@pytest.mark.parametrize(
    ("status", "body", "action", "pause"),
    [
        (200, [], Action.READ, None),
        (401, error("INVALID_SESSION_ID"), Action.LOGIN, None),
        (401, HTML, Action.LOGIN, None),
        (403, error("REQUEST_LIMIT_EXCEEDED"), Action.RETRY, Pause.CONCURRENT_LIMIT),
        (403, error("API_DISABLED_FOR_ORG"), Action.STOP, Pause.FAULT),
        (403, error("SOMETHING_NEW"), Action.STOP, Pause.FAULT),
        (403, HTML, Action.RETRY, Pause.MOVED),
        (421, HTML, Action.RETRY, Pause.MOVED),
        (503, error("SERVER_UNAVAILABLE"), Action.RETRY, Pause.OUTAGE),
        (503, HTML, Action.UNKNOWN, Pause.OUTAGE),
        (503, error("SOMETHING_NEW"), Action.UNKNOWN, Pause.OUTAGE),
        (502, error("SERVER_UNAVAILABLE"), Action.UNKNOWN, Pause.OUTAGE),
        (502, HTML, Action.UNKNOWN, Pause.OUTAGE),
        (504, HTML, Action.UNKNOWN, Pause.OUTAGE),
        (500, error("UNKNOWN_EXCEPTION"), Action.UNKNOWN, Pause.OUTAGE),
        (500, error("UNABLE_TO_LOCK_ROW"), Action.RETRY, None),
        (500, HTML, Action.UNKNOWN, Pause.OUTAGE),
        (406, HTML, Action.RETRY, Pause.OUTAGE),
        (420, HTML, Action.RETRY, Pause.OUTAGE),
        (429, HTML, Action.RETRY, Pause.OUTAGE),
        (400, error("UNABLE_TO_LOCK_ROW"), Action.RETRY, None),
        (400, error("TXN_SECURITY_METERING_ERROR"), Action.RETRY, None),
        (400, error("JSON_PARSER_ERROR"), Action.SPLIT, None),
        (400, error("STRING_TOO_LONG"), Action.SPLIT, None),
        (400, error("NOT_FOUND"), Action.SPLIT, None),
        (400, error("INVALID_FIELD"), Action.STOP, Pause.FAULT),
        (400, error("URL_NOT_RESET"), Action.LOGIN, None),
        (403, error("INVALID_SESSION_ID"), Action.LOGIN, None),
        (404, error("INVALID_SESSION_ID"), Action.LOGIN, None),
        (403, error("ORG_NOT_OWNED_BY_INSTANCE"), Action.LOGIN, None),
        (400, HTML, Action.RETRY, Pause.MOVED),
        (404, error("NOT_FOUND"), Action.STOP, Pause.FAULT),
        (404, HTML, Action.RETRY, Pause.MOVED),
        (405, error("METHOD_NOT_ALLOWED"), Action.STOP, Pause.FAULT),
        (410, error("UNSUPPORTED_API_VERSION"), Action.STOP, Pause.FAULT),
        (414, error("URI_TOO_LONG"), Action.STOP, Pause.FAULT),
        (204, HTML, Action.UNKNOWN, Pause.OUTAGE),
        (301, HTML, Action.RETRY, Pause.MOVED),
        (302, HTML, Action.RETRY, Pause.MOVED),
        (307, error("NOT_FOUND"), Action.RETRY, Pause.MOVED),
    ],
)
def test_a_whole_request_is_judged_by_code_then_by_status(
    status: int, body: object, action: Action, pause: Pause | None
) -> None:
    outcome = judge(Answer(status, body), writes=True, daily_spent=False)
    assert (outcome.action, outcome.pause) == (action, pause)


def test_the_daily_limit_is_told_from_the_other_by_the_usage_and_not_by_the_message() -> None:
    answer = Answer(403, error("REQUEST_LIMIT_EXCEEDED"))
    assert judge(answer, writes=True, daily_spent=True).pause is Pause.DAILY_LIMIT
    assert judge_row("REQUEST_LIMIT_EXCEEDED", RNG, daily_spent=True).pause is Pause.DAILY_LIMIT


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        (NoAnswer(begun=False, why="ConnectionError"), Action.RETRY),
        (NoAnswer(begun=False, why="ConnectTimeout", timed_out=True), Action.RETRY),
        (NoAnswer(begun=True, why="ReadTimeout", timed_out=True), Action.UNKNOWN),
        (NoAnswer(begun=True, why="ConnectionError"), Action.UNKNOWN),
    ],
)
def test_without_an_answer_it_matters_whether_anything_was_sent(
    reply: NoAnswer, action: Action
) -> None:
    outcome = judge(reply, writes=True, daily_spent=False)
    assert (outcome.action, outcome.pause) == (action, Pause.OUTAGE)
    assert outcome.smaller is (reply.begun and reply.timed_out)


@pytest.mark.parametrize("status", [500, 502, 503, 204])
def test_a_read_never_has_an_unknown_outcome(status: int) -> None:
    outcome = judge(Answer(status, HTML), writes=False, daily_spent=False)
    assert outcome.action is Action.RETRY
    lost = judge(NoAnswer(begun=True, why="ReadTimeout"), writes=False, daily_spent=False)
    assert lost.action is Action.RETRY


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (503, HTML, Unknown("HTTP_503")),
        (500, error("UNKNOWN_EXCEPTION"), Unknown("UNKNOWN_EXCEPTION")),
        (400, error("JSON_PARSER_ERROR"), Reject("JSON_PARSER_ERROR")),
    ],
)
def test_rows_get_the_verdict_of_their_request(status: int, body: object, verdict: object) -> None:
    outcome = judge(Answer(status, body), writes=True, daily_spent=False)
    assert whole_verdict(outcome, RNG) == verdict


@pytest.mark.parametrize(
    ("status", "body", "whole_org"),
    [
        (503, error("SERVER_UNAVAILABLE"), True),
        (403, error("REQUEST_LIMIT_EXCEEDED"), True),
        (420, HTML, True),
        (400, error("UNABLE_TO_LOCK_ROW"), False),
    ],
)
def test_only_a_fault_of_the_org_is_forgiven_a_row(
    status: int, body: object, *, whole_org: bool
) -> None:
    verdict = whole_verdict(judge(Answer(status, body), writes=True, daily_spent=False), RNG)
    assert isinstance(verdict, Retry)
    assert verdict.whole_org is whole_org


MANY = MIN_ROWS_TO_BLAME_THE_ORG


@pytest.mark.parametrize(
    ("codes", "blamed"),
    [
        (["INVALID_FIELD"], "INVALID_FIELD"),
        (["INVALID_FIELD_FOR_INSERT_UPDATE"] * 3, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        (["INVALID_FIELD", None], None),
        (["INVALID_FIELD", "STRING_TOO_LONG"], None),
        (["INSUFFICIENT_ACCESS_OR_READONLY"] * MANY, "INSUFFICIENT_ACCESS_OR_READONLY"),
        (["INSUFFICIENT_ACCESS_OR_READONLY"] * (MANY - 1), None),
        (["INACTIVE_OWNER_OR_USER"] * MANY, "INACTIVE_OWNER_OR_USER"),
        (["STRING_TOO_LONG"] * MANY, None),
        ([None] * MANY, None),
        ([], None),
    ],
)
def test_what_every_row_is_refused_for_is_no_fault_of_the_rows(
    codes: list[str | None], blamed: str | None
) -> None:
    assert blames_the_org(codes) == blamed

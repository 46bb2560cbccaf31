"""Every fault of the sandbox org does what its table says, as often as it was told to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from processor.sandbox.org.server import Fault, FaultKind, RequestKind, SandboxOrg
from tests.salesforce.org_client import (
    OrgClient,
    codes,
    collection_part,
    failure,
    row,
    task_id,
    wait_until,
)

T1, T2, T3 = task_id(1), task_id(2), task_id(3)


@pytest.fixture
def client() -> Iterator[OrgClient]:
    with SandboxOrg() as org:
        org.add_tasks([T1, T2, T3])
        with OrgClient(org) as client:
            yield client


def written(client: OrgClient) -> list[object]:
    return [write.fields["SMS_Status__c"] for write in client.org.writes()]


def test_a_lock_fails_the_row_of_a_task_and_spares_the_others(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.LOCK, count=2, task_id=T2[:15]))
    rows = [row(T1), row(T2), row(T3)]
    outcomes = [codes(client.update(rows)) for _ in range(3)]
    locked = ["ok", "UNABLE_TO_LOCK_ROW", "ok"]
    assert outcomes == [locked, locked, ["ok"] * 3]
    assert client.org.stats()["faults"] == {"lock": 2}


def test_a_count_is_of_requests_and_a_lock_without_a_task_fails_all_rows(
    client: OrgClient,
) -> None:
    client.org.inject(Fault(FaultKind.LOCK))
    assert codes(client.update([row(T1), row(T2)])) == ["UNABLE_TO_LOCK_ROW"] * 2
    assert codes(client.update([row(T1), row(T2)])) == ["ok"] * 2


def test_a_row_error_has_the_code_that_was_given(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.ROW_ERROR, code="CANNOT_EXECUTE_FLOW_TRIGGER", count=2))
    parts = [collection_part("a", row(T1)), collection_part("b", row(T2))]
    answers = client.composite(parts).json()["compositeResponse"]
    assert {a["body"][0]["errors"][0]["statusCode"] for a in answers} == {
        "CANNOT_EXECUTE_FLOW_TRIGGER"
    }
    single = client.send("PATCH", f"sobjects/Task/{T1}", json={"SMS_Status__c": "x"})
    assert failure(single) == (400, "CANNOT_EXECUTE_FLOW_TRIGGER")
    assert client.org.faults() == []


def test_a_probability_is_per_row_and_repeats_with_its_seed(client: OrgClient) -> None:
    ids = [task_id(number) for number in range(200)]
    client.org.add_tasks(ids)
    outcomes = []
    for _ in range(2):
        client.org.inject(Fault(FaultKind.LOCK, probability=0.2, seed=7))
        outcomes.append([codes(client.update([row(i) for i in ids])) for _ in range(2)])
        client.org.clear_faults()
    assert outcomes[0] == outcomes[1]
    assert 20 < outcomes[0][0].count("UNABLE_TO_LOCK_ROW") < 60
    assert outcomes[0][0] != outcomes[0][1]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(FaultKind.SESSION), (401, "INVALID_SESSION_ID")),
        (Fault(FaultKind.LIMIT), (403, "REQUEST_LIMIT_EXCEEDED")),
        (Fault(FaultKind.UNAVAILABLE), (503, "SERVER_UNAVAILABLE")),
        (Fault(FaultKind.UNAVAILABLE, status=500), (500, "SERVER_UNAVAILABLE")),
    ],
    ids=["session", "limit", "unavailable", "unavailable with a status"],
)
def test_a_refused_request_applies_nothing_and_costs_no_call(
    client: OrgClient, fault: Fault, expected: tuple[int, str]
) -> None:
    client.org.inject(fault)
    assert failure(client.update([row(T1)])) == expected
    assert client.org.writes() == []
    assert codes(client.update([row(T1)])) == ["ok"]
    assert client.org.stats()["api_calls"] == {"used": 1, "max": 115_000}


def test_an_edge_server_answers_html(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.HTML, status=502))
    response = client.update([row(T1)])
    assert response.status_code == 502
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.text.startswith("<html>")
    assert client.org.writes() == []


@pytest.mark.parametrize(
    ("kind", "applied"),
    [
        (FaultKind.RESET_BEFORE, []),
        (FaultKind.RESET_AFTER, ["x"]),
        (FaultKind.TRUNCATED, ["x"]),
    ],
)
def test_a_broken_connection_tells_nothing_of_what_was_applied(
    client: OrgClient, kind: FaultKind, applied: list[object]
) -> None:
    client.org.inject(Fault(kind))
    broken = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
    with pytest.raises(broken):
        client.update([row(T1, SMS_Status__c="x")])
    assert written(client) == applied
    assert codes(client.update([row(T2, SMS_Status__c="next")])) == ["ok"]


def test_a_slow_request_is_answered_as_usual_after_its_delay(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.SLOW, delay_s=0.2))
    started_s = time.monotonic()
    assert codes(client.update([row(T1)])) == ["ok"]
    assert time.monotonic() - started_s >= 0.2


def test_a_late_request_that_was_dropped_lands_after_a_newer_one(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.LATE, delay_s=600.0, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.update([row(T1, SMS_Status__c="old")])
    assert codes(client.update([row(T1, SMS_Status__c="new")])) == ["ok"]
    assert client.org.stats()["late_pending"] == 1
    assert client.org.release_late() == 1
    assert written(client) == ["new", "old"]
    assert client.org.task(T1)["SMS_Status__c"] == "old"


def test_late_requests_land_by_themselves_in_the_order_of_their_time(client: OrgClient) -> None:
    for name, delay_s in (("second", 0.3), ("first", 0.1)):
        client.org.inject(Fault(FaultKind.LATE, delay_s=delay_s, drop=True))
        with pytest.raises(requests.ConnectionError):
            client.update([row(T1, SMS_Status__c=name)])
    client.update([row(T1, SMS_Status__c="now")])
    wait_until(lambda: len(client.org.writes()) == 3)
    assert written(client) == ["now", "first", "second"]
    times_ms = [write.time_ms for write in client.org.writes()]
    assert times_ms == sorted(times_ms)
    assert times_ms[2] - times_ms[0] >= 150


def test_a_late_request_is_applied_though_its_client_has_given_up(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.LATE, delay_s=0.3))
    with pytest.raises(requests.ReadTimeout):
        client.update([row(T1, SMS_Status__c="old")], timeout=0.1)
    assert codes(client.update([row(T1, SMS_Status__c="new")])) == ["ok"]
    wait_until(lambda: written(client) == ["new", "old"])


def test_a_late_request_is_answered_to_a_client_that_waits(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.LATE, delay_s=0.1))
    assert codes(client.update([row(T1, SMS_Status__c="x")])) == ["ok"]


def test_a_late_request_was_admitted_when_it_came(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.LATE, delay_s=600.0, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.update([row(T1, SMS_Status__c="x")])
    client.org.expire_tokens()
    client.org.release_late()
    assert written(client) == ["x"]


def test_a_fault_for_one_kind_of_request_leaves_the_others_alone(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.UNAVAILABLE, request=RequestKind.QUERY))
    assert codes(client.update([row(T1)])) == ["ok"]
    assert client.query("SELECT Id FROM Task").status_code == 503


def test_a_login_fails_only_when_it_is_named(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.UNAVAILABLE))
    client.login()
    client.org.clear_faults()
    client.org.inject(Fault(FaultKind.HTML, request=RequestKind.TOKEN))
    assert client.token(grant_type="client_credentials").status_code == 503


def test_a_fault_for_a_task_takes_requests_that_name_it(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.UNAVAILABLE, task_id=T2))
    assert client.update([row(T1)]).status_code == 200
    assert client.update([row(T1), row(T2[:15])]).status_code == 503


def test_one_subrequest_of_a_composite_can_fail(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.UNAVAILABLE, request=RequestKind.SUBREQUEST, task_id=T2))
    parts = [collection_part("a", row(T1)), collection_part("b", row(T2))]
    answers = client.composite(parts).json()["compositeResponse"]
    assert [answer["httpStatusCode"] for answer in answers] == [200, 503]
    assert answers[1]["body"][0]["errorCode"] == "SERVER_UNAVAILABLE"


def test_a_fault_ends_with_its_duration(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.UNAVAILABLE, duration_s=0.2))
    assert {client.update([row(T1)]).status_code for _ in range(5)} == {503}
    wait_until(lambda: client.org.faults() == [])
    assert client.update([row(T1)]).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "nope"},
        {"count": 1},
        {"kind": "lock", "count": 0},
        {"kind": "lock", "count": "1"},
        {"kind": "lock", "probability": 1.5},
        {"kind": "lock", "task_id": "x"},
        {"kind": "lock", "unknown": 1},
        {"kind": "late"},
        {"kind": "html", "request": "subrequest"},
        {"kind": "session", "request": "nope"},
        "lock",
    ],
    ids=str,
)
def test_a_fault_that_could_never_act_is_refused(client: OrgClient, wrong: object) -> None:
    assert client.control("POST", "faults", wrong).status_code == 400
    assert client.org.faults() == []


def test_the_control_endpoint_does_what_the_methods_do(client: OrgClient) -> None:
    control = client.control
    faults = [{"kind": "lock", "count": 2}, {"kind": "late", "delay_s": 60, "drop": True}]
    assert control("POST", "faults", faults).json() == {"injected": 2}
    listed = control("GET", "faults").json()["faults"]
    assert [(f["kind"], f["left"]) for f in listed] == [("lock", 2), ("late", 1)]
    with pytest.raises(requests.ConnectionError):
        client.update([row(T1, SMS_Status__c="x")])
    assert control("DELETE", "faults").json() == {"faults": []}
    assert control("POST", "release-late").json() == {"released": 1}

    (write,) = control("GET", "writes?after=0&limit=5").json()["writes"]
    assert (write["sequence"], write["task_id"]) == (1, T1)
    assert write["fields"] == {"SMS_Status__c": "x"}
    assert control("GET", "writes?after=1").json() == {"writes": []}

    added = {"ids": [task_id(8)], "records": [{"id": task_id(9), "External_Id__c": "m-9"}]}
    assert control("POST", "tasks", added).json() == {"added": 2}
    (task,) = control("GET", f"tasks?ids={task_id(9)}").json()["tasks"]
    assert task["External_Id__c"] == "m-9"
    assert control("DELETE", "tasks", {"ids": [task_id(9)]}).json() == {"deleted": 1}
    assert len(control("GET", "tasks").json()["tasks"]) == 4

    assert control("POST", "limit", {"max": 9, "used": 3}).json()["limit"] == {"used": 3, "max": 9}
    assert control("POST", "limit", {"max": -1}).status_code == 400
    assert control("POST", "expire-tokens").json() == {"expired": 1}
    assert failure(client.update([row(T1)])) == (401, "INVALID_SESSION_ID")
    assert control("GET", "nope").status_code == 404


def test_the_statistics_count_requests_rows_calls_and_faults(client: OrgClient) -> None:
    client.org.inject(Fault(FaultKind.RESET_AFTER, request=RequestKind.QUERY))
    client.update([row(T1), row(task_id(9))], headers={"Sforce-Auto-Assign": "FALSE"})
    client.composite([collection_part("a", row(T2))])
    client.retrieve([T1, T2], ["Id"])
    with pytest.raises(requests.ConnectionError):
        client.query("SELECT Id FROM Task")
    kinds = ("token", "collections_update", "composite", "collections_retrieve", "query")
    stats = client.control("GET", "stats").json()
    assert stats.pop("callers").keys() == set(kinds)
    assert stats == {
        "requests": dict.fromkeys(kinds, 1),
        "statuses": {"200": 4, "reset": 1},
        "subrequests": {"collections_update": 1},
        "rows": {"written": 2, "failed": 1, "read": 5},
        "api_calls": {"used": 4, "max": 115_000},
        "faults": {"reset_after": 1},
        "late_pending": 0,
        "logins": 1,
        "writes_that_may_auto_assign": 1,
    }

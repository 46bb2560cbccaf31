"""Ids, requests and answers of the Collections and Composite resources."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.salesforce.collections import (
    MAX_IDS_PER_RETRIEVE,
    MAX_PARTS_PER_COMPOSITE,
    MAX_ROWS_PER_REQUEST,
    Row,
    id_checksum,
    parts_of,
    read_parts,
    read_records,
    read_rows,
    retrieve_call,
    task_id_18,
    update_call,
)
from processor.salesforce.wire import NOT_JSON, Answer, CallKind

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
A = "00T000000000001EAA"
B = "00T000000000002EAA"


# -- Ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "full"),
    [
        ("00T000000000001", A),
        (A, A),
        ("00Tabcdefghijkl", "00TabcdefghijklEAA"),
        ("00TABCDEFGHIJKL", "00TABCDEFGHIJKL255"),
    ],
)
def test_both_forms_of_an_id_have_one_full_form(raw: str, full: str) -> None:
    assert task_id_18(raw) == full


@pytest.mark.parametrize(
    "documented",  # Ids in examples of the REST API Developer Guide
    ["001R00000064wdtIAA", "001D000000IqhSLIAZ", "001xx000003DGb2AAG", "001A0000006Vm9rIAC"],
)
def test_the_checksum_is_that_of_documented_ids(documented: str) -> None:
    assert id_checksum(documented[:15]) == documented[15:]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "00T",
        "00T00000000001",  # 14
        "00T0000000000010",  # 16
        "00T000000000001EAB",  # a wrong checksum
        "00T000000000001eaa",  # the checksum is not to be folded
        "001000000000001",  # an Account
        "00t000000000001",
        "00T00000000000-",
        " 00T00000000001",
        "00T00000000000é",
        "00T00000000000\uff11",  # a digit, but not one of ASCII
    ],
)
def test_a_malformed_id_has_no_full_form(raw: str) -> None:
    assert task_id_18(raw) is None


@given(st.text(LETTERS, min_size=12, max_size=12), st.text(LETTERS, min_size=12, max_size=12))
def test_full_forms_are_equal_only_where_the_ids_are_and_differ_even_without_case(
    one: str, other: str
) -> None:
    first, second = task_id_18("00T" + one), task_id_18("00T" + other)
    assert first is not None
    assert second is not None
    assert (first == second) == (one == other) == (first.lower() == second.lower())
    assert task_id_18(first) == first


# -- requests ----------------------------------------------------------------------------------


def rows(count: int) -> list[Row]:
    return [Row(task_id_18(f"00T{n:012d}") or "", {"SMS_Status_Code__c": n}) for n in range(count)]


def body_of(call: Any) -> dict[str, Any]:
    body = json.loads(call.body)
    assert isinstance(body, dict)
    return body


def test_up_to_200_rows_are_one_collections_request() -> None:
    call = update_call([rows(2)], "66.0")
    assert (call.kind, call.method, call.path) == (
        CallKind.COLLECTIONS,
        "PATCH",
        "composite/sobjects",
    )
    assert call.writes
    assert body_of(call) == {
        "allOrNone": False,
        "records": [
            {
                "attributes": {"type": "Task"},
                "id": "00T000000000000EAA",
                "SMS_Status_Code__c": 0,
            },
            {"attributes": {"type": "Task"}, "id": A, "SMS_Status_Code__c": 1},
        ],
    }


def test_more_rows_are_one_composite_of_collections() -> None:
    parts = parts_of(rows(450), MAX_ROWS_PER_REQUEST)
    assert [len(part) for part in parts] == [200, 200, 50]
    call = update_call(parts, "66.0")
    assert (call.kind, call.method, call.path) == (CallKind.COMPOSITE, "POST", "composite")
    body = body_of(call)
    assert body["allOrNone"] is False
    assert [part["referenceId"] for part in body["compositeRequest"]] == ["part0", "part1", "part2"]
    for part in body["compositeRequest"]:
        assert part["method"] == "PATCH"
        assert part["url"] == "/services/data/v66.0/composite/sobjects"
        assert part["httpHeaders"] == {"Sforce-Auto-Assign": "FALSE"}, "it is not inherited"
        assert part["body"]["allOrNone"] is False
    ids = [row["id"] for part in body["compositeRequest"] for row in part["body"]["records"]]
    assert ids == [row.task_id for row in rows(450)]


def test_the_limits_of_the_resources_are_kept() -> None:
    with pytest.raises(ValueError, match="201"):
        parts_of(rows(1), MAX_ROWS_PER_REQUEST + 1)
    with pytest.raises(ValueError, match="6 parts"):
        update_call([rows(1)] * (MAX_PARTS_PER_COMPOSITE + 1), "66.0")
    with pytest.raises(ValueError, match="2001"):
        retrieve_call([A] * (MAX_IDS_PER_RETRIEVE + 1), ["SMS_Status__c"])


VALUES = st.dictionaries(
    st.text('SMS_Code__cÄ"\\', min_size=1),
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    max_size=4,
)


@given(st.lists(VALUES, min_size=1), st.lists(st.integers(0, 9), min_size=1), st.integers(1, 5))
def test_a_body_says_the_same_whether_rows_share_an_object_or_hold_equal_ones(
    kinds: list[dict[str, object]], picks: list[int], size: int
) -> None:
    values = [kinds[pick % len(kinds)] for pick in picks[: size * MAX_PARTS_PER_COMPOSITE]]
    ids = [task_id_18(f"00T{n:012d}") or "" for n in range(len(values))]
    said = [
        {"attributes": {"type": "Task"}, "id": task_id, **own}
        for task_id, own in zip(ids, values, strict=True)
    ]
    for shared in (values, [dict(own) for own in values]):
        rows = list(map(Row, ids, shared))
        body = body_of(update_call(parts_of(rows, size), "66.0"))
        parts = [part["body"] for part in body.get("compositeRequest", ())] or [body]
        assert [row for part in parts for row in part["records"]] == said
        assert [part["allOrNone"] for part in parts] == [False] * len(parts)


def test_a_body_is_ascii_whatever_the_values_are() -> None:
    call = update_call([[Row(A, {"SMS_Status__c": "Zürich 😀"})]], "66.0")
    assert call.body.isascii()
    assert body_of(call)["records"][0]["SMS_Status__c"] == "Zürich 😀"


def test_reading_back_names_ids_and_fields() -> None:
    call = retrieve_call([A, B], ["SMS_Status__c"])
    assert (call.method, call.path, call.writes) == ("POST", "composite/sobjects/Task", False)
    assert body_of(call) == {"ids": [A, B], "fields": ["SMS_Status__c"]}


# -- answers -----------------------------------------------------------------------------------


def written(task_id: str) -> dict[str, object]:
    return {"id": task_id, "success": True, "errors": []}


def failed(code: str, **more: object) -> dict[str, object]:
    return {
        "success": False,
        "errors": [{"statusCode": code, "message": "…", "fields": []}],
        **more,
    }


def test_results_are_read_by_their_place_as_in_the_documented_example() -> None:
    # The shape of the example of "Update Multiple Records with Fewer Round-Trips".
    body = [written(A), failed("MALFORMED_ID")]
    results = read_rows(Answer(200, body), [Row(A, {}), Row(B, {})])
    assert results == [None, "MALFORMED_ID"]


def test_a_row_that_was_rolled_back_keeps_its_id_and_still_failed() -> None:
    body = [failed("ALL_OR_NONE_OPERATION_ROLLED_BACK", id=A)]
    assert read_rows(Answer(200, body), [Row(A, {})]) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK"]


def test_an_id_may_come_back_in_its_short_form() -> None:
    assert read_rows(Answer(200, [written(A[:15])]), [Row(A, {})]) == [None]


@pytest.mark.parametrize(
    "body",
    [
        NOT_JSON,
        None,
        {},
        [],
        [written(A)],  # one is missing
        [written(A), written(B), written(B)],
        [written(B), written(A)],  # not in their places
        [written(A), None],
        [written(A), {"id": B}],
        [written(A), {"id": B, "success": "true"}],
    ],
)
def test_results_that_do_not_fit_the_request_are_not_read_at_all(body: object) -> None:
    assert read_rows(Answer(200, body), [Row(A, {}), Row(B, {})]) is None


@pytest.mark.parametrize("errors", [None, [], [None], [{}], [{"statusCode": ""}]])
def test_a_failure_without_a_code_is_a_failure(errors: object) -> None:
    body = [{"success": False, "errors": errors}]
    assert read_rows(Answer(200, body), [Row(A, {})]) == ["NO_ERROR_CODE"]


def part(reference: str, status: int, body: object) -> dict[str, object]:
    return {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": reference}


def test_the_parts_of_a_composite_are_found_by_reference() -> None:
    error = [{"errorCode": "SERVER_UNAVAILABLE", "message": "…"}]
    listed = [part("part1", 503, error), part("part0", 200, [written(A)])]
    answer = Answer(200, {"compositeResponse": listed}, generation=7)
    assert read_parts(answer, 3) == [
        Answer(200, [written(A)], 7),
        Answer(503, error, 7),
        Answer(200, NOT_JSON, 7),  # missing: nobody knows
    ]


@pytest.mark.parametrize(
    "body", [NOT_JSON, [], {}, {"compositeResponse": {}}, {"compositeResponse": [{}]}]
)
def test_a_composite_answer_that_is_none_is_not_read(body: object) -> None:
    assert read_parts(Answer(200, body), 1) is None


def test_records_come_in_their_places_and_may_be_missing() -> None:
    body = [{"attributes": {}, "Id": A, "SMS_Status__c": "Delivery"}, None]
    found = read_records(Answer(200, body), 2)
    assert found is not None
    assert found[0] is not None
    assert found[0]["sms_status__c"] == "Delivery"
    assert found[1] is None


@pytest.mark.parametrize("body", [NOT_JSON, [None], ["x", None], {"a": 1}])
def test_records_that_do_not_fit_are_not_read_at_all(body: object) -> None:
    assert read_records(Answer(200, body), 2) is None

"""The sandbox org answers as Salesforce does: its resources, limits and shapes of errors."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator

import pytest

from processor.sandbox.org.server import FieldSpec, OrgSettings, SandboxOrg, task_fields
from tests.salesforce.org_client import (
    OrgClient,
    codes,
    collection_part,
    failure,
    row,
    task_id,
)

FENCED = OrgSettings(fields=task_fields("double", fence="SMS_Version__c"))
READ_ONLY = FieldSpec("Locked__c", updateable=False)
REQUIRED = FieldSpec("Needed__c", nillable=False)
T1, T2, T3 = task_id(1), task_id(2), task_id(3)


@pytest.fixture
def org() -> Iterator[SandboxOrg]:
    with SandboxOrg() as org:
        org.add_tasks([T1, T2, T3])
        yield org


@pytest.fixture
def client(org: SandboxOrg) -> Iterator[OrgClient]:
    with OrgClient(org) as client:
        yield client


def test_describe_shows_type_length_and_rights_of_each_field(client: OrgClient) -> None:
    described = client.send("GET", "sobjects/Task/describe").json()
    shown = {
        field["name"]: (field["type"], field["length"], field["updateable"], field["externalId"])
        for field in described["fields"]
    }
    assert shown["Id"] == ("id", 18, False, False)
    assert shown["SMS_Status__c"] == ("string", 50, True, False)
    assert shown["SMS_Status_Code__c"] == ("string", 10, True, False)
    assert shown["IsClosed"] == ("boolean", 0, False, False)
    assert shown["External_Id__c"] == ("string", 64, True, True)


def test_a_collection_is_written_and_answered_row_by_row_in_its_order(client: OrgClient) -> None:
    response = client.update([row(T2, SMS_Status__c="Failed"), row(T1, SMS_Status__c="Delivery")])
    assert response.json() == [
        {"id": T2, "success": True, "errors": []},
        {"id": T1, "success": True, "errors": []},
    ]
    assert client.org.task(T1)["SMS_Status__c"] == "Delivery"
    assert [(w.sequence, w.task_id, w.fields) for w in client.org.writes()] == [
        (1, T2, {"SMS_Status__c": "Failed"}),
        (2, T1, {"SMS_Status__c": "Delivery"}),
    ]
    first, second = client.org.writes()
    assert first.request_id == second.request_id


ROW_ERRORS = [
    ("Id of another object", row("0038d0000000001AAA"), "MALFORMED_ID", ["Id"]),
    ("Id with a wrong suffix", row(T1[:15] + "AAA"), "MALFORMED_ID", ["Id"]),
    ("Id too short", row(T1[:14]), "MALFORMED_ID", ["Id"]),
    ("no Id", {"attributes": {"type": "Task"}}, "MISSING_ARGUMENT", ["Id"]),
    ("unknown Id", row(task_id(9)), "INVALID_CROSS_REFERENCE_KEY", []),
    ("unknown field", row(T1, Nope__c="x"), "INVALID_FIELD", []),
    ("text too long", row(T1, SMS_Status__c="x" * 51), "STRING_TOO_LONG", ["SMS_Status__c"]),
    ("read-only", row(T1, IsClosed=True), "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsClosed"]),
    ("unknown type", row(T1) | {"attributes": {"type": "Taks"}}, "INVALID_TYPE", []),
]


@pytest.mark.parametrize(
    ("record", "code", "fields"),
    [case[1:] for case in ROW_ERRORS],
    ids=[case[0] for case in ROW_ERRORS],
)
def test_a_bad_row_fails_alone_without_an_id(
    client: OrgClient, record: dict[str, object], code: str, fields: list[str]
) -> None:
    response = client.update([record, row(T2, SMS_Status__c="ok")])
    assert codes(response) == [code, "ok"]
    bad = response.json()[0]
    assert "id" not in bad
    assert bad["errors"][0]["fields"] == fields
    assert [write.task_id for write in client.org.writes()] == [T2]


def test_a_deleted_task_fails_alone(client: OrgClient) -> None:
    client.org.delete_tasks([T1])
    assert codes(client.update([row(T1), row(T2)])) == ["ENTITY_IS_DELETED", "ok"]


def test_the_same_task_twice_in_a_request_fails_in_either_form_of_its_id(
    client: OrgClient,
) -> None:
    response = client.update([row(T1), row(T1[:15]), row(T2)])
    assert codes(response) == ["ok", "DUPLICATE_VALUE", "ok"]


def test_a_value_of_a_unique_field_belongs_to_one_task(client: OrgClient) -> None:
    rows = [row(T1, External_Id__c="m-1"), row(T2, External_Id__c="M-1")]
    assert codes(client.update(rows)) == ["ok", "DUPLICATE_VALUE"]
    assert codes(client.update([row(T1, External_Id__c=None)])) == ["ok"]
    assert codes(client.update([row(T2, External_Id__c="m-1")])) == ["ok"]


def test_all_or_none_rolls_back_the_good_rows_and_names_them(client: OrgClient) -> None:
    client.update([row(T1, SMS_Status__c="before")])
    rows = [row(T1, SMS_Status__c="after"), row(task_id(9)), row(T2, SMS_Status__c="after")]
    response = client.update(rows, all_or_none=True)
    rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert codes(response) == [rolled_back, "INVALID_CROSS_REFERENCE_KEY", rolled_back]
    assert [result.get("id") for result in response.json()] == [T1, None, T2]
    assert client.org.task(T1)["SMS_Status__c"] == "before"
    assert len(client.org.writes()) == 1


def test_text_is_trimmed_and_empty_text_is_no_value(client: OrgClient) -> None:
    client.update([row(T1, SMS_Status__c=" Failed "), row(T2, SMS_Status__c="")])
    assert client.org.task(T1)["SMS_Status__c"] == "Failed"
    assert client.org.task(T2)["SMS_Status__c"] is None


BAD_BODIES = [
    ("not JSON", b"{", "JSON_PARSER_ERROR"),
    ("a list", b"[]", "JSON_PARSER_ERROR"),
    ("no records", b"{}", "JSON_PARSER_ERROR"),
    ("a record that is text", b'{"records":["x"]}', "JSON_PARSER_ERROR"),
    ("a number for text", json.dumps({"records": [row(T1, SMS_Status__c=220)]}).encode(), None),
    ("201 rows", json.dumps({"records": [row(T1)] * 201}).encode(), "EXCEEDED_ID_LIMIT"),
]


@pytest.mark.parametrize(
    ("body", "code"), [case[1:] for case in BAD_BODIES], ids=[case[0] for case in BAD_BODIES]
)
def test_a_wrong_body_fails_as_a_whole(client: OrgClient, body: bytes, code: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.send("PATCH", "composite/sobjects", data=body, headers=headers)
    assert failure(response) == (400, code or "JSON_PARSER_ERROR")
    assert client.org.writes() == []


def test_two_hundred_rows_are_one_api_call(client: OrgClient) -> None:
    ids = [task_id(number) for number in range(200)]
    client.org.add_tasks(ids)
    response = client.update([row(ident) for ident in ids])
    assert codes(response) == ["ok"] * 200
    assert response.headers["Sforce-Limit-Info"] == "api-usage=1/115000"


def test_a_body_may_be_gzipped_but_must_be_json(client: OrgClient) -> None:
    body = gzip.compress(json.dumps({"records": [row(T1, SMS_Status__c="Failed")]}).encode())
    zipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = client.send("PATCH", "composite/sobjects", data=body, headers=zipped)
    assert codes(response) == ["ok"]
    plain = {"Content-Type": "text/plain"}
    response = client.send("PATCH", "composite/sobjects", data=b"{}", headers=plain)
    assert failure(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_number_field_takes_numbers_and_a_validation_rule_refuses_lower_ones() -> None:
    with SandboxOrg(settings=FENCED) as org, OrgClient(org) as client:
        org.add_tasks([T1])
        steps = [(2, "ok"), (2, "ok"), (1, "FIELD_CUSTOM_VALIDATION_EXCEPTION"), (3, "ok")]
        for version, outcome in steps:
            fields = {"SMS_Version__c": version, "SMS_Status_Code__c": 220}
            assert codes(client.update([row(T1, **fields)])) == [outcome]
        assert [write.fields["SMS_Version__c"] for write in org.writes()] == [2.0, 2.0, 3.0]
        text = client.update([row(T1, SMS_Status_Code__c="220")])
        assert failure(text) == (400, "JSON_PARSER_ERROR")
        described = client.send("GET", "sobjects/Task/describe").json()["fields"]
        assert {"SMS_Version__c", "SMS_Status_Code__c"} == {
            field["name"] for field in described if field["type"] == "double"
        }


def test_custom_text_fields_may_be_read_only_or_required() -> None:
    settings = OrgSettings(fields=(*task_fields(), READ_ONLY, REQUIRED))
    with SandboxOrg(settings=settings) as org, OrgClient(org) as client:
        org.add_tasks([T1, T2, T3])
        rows = [row(T1, Locked__c="x"), row(T2, Needed__c=" "), row(T3, Needed__c="x")]
        outcomes = ["INVALID_FIELD_FOR_INSERT_UPDATE", "REQUIRED_FIELD_MISSING", "ok"]
        assert codes(client.update(rows)) == outcomes


def test_the_controls_refuse_what_is_no_task(org: SandboxOrg) -> None:
    with pytest.raises(ValueError, match="malformed id"):
        org.add_tasks(["00Tshort"])
    with pytest.raises(ValueError, match="no such field"):
        org.add_task(T1, {"Nope__c": 1})
    with pytest.raises(KeyError):
        org.task(task_id(9))
    with pytest.raises(KeyError):
        org.delete_tasks([task_id(9)])


def test_retrieve_answers_in_order_with_null_for_what_is_not_there(client: OrgClient) -> None:
    client.update([row(T1, SMS_Status__c="Failed")])
    client.org.delete_tasks([T3])
    url = f"/services/data/v59.0/sobjects/Task/{T1}"
    found = {"attributes": {"type": "Task", "url": url}, "Id": T1, "SMS_Status__c": "Failed"}
    ids, fields = [task_id(9), T1[:15], T3], ["Id", "SMS_Status__c"]
    assert client.retrieve(ids, fields).json() == [None, found, None]
    params = {"ids": ",".join(ids), "fields": ",".join(fields)}
    response = client.send("GET", "composite/sobjects/Task", params=params)
    assert response.json() == [None, found, None]


def test_retrieve_takes_two_thousand_ids_and_known_fields(client: OrgClient) -> None:
    assert client.retrieve([T1] * 2_000, ["Id"]).status_code == 200
    assert failure(client.retrieve([T1] * 2_001, ["Id"])) == (400, "EXCEEDED_ID_LIMIT")
    assert failure(client.retrieve([T1], ["Nope__c"])) == (400, "INVALID_FIELD")
    assert failure(client.retrieve(["x"], ["Id"])) == (400, "MALFORMED_ID")


def test_a_composite_of_five_collections_is_one_api_call(client: OrgClient) -> None:
    ids = [task_id(number) for number in range(1_000)]
    client.org.add_tasks(ids)
    parts = [
        collection_part(f"r{part}", *(row(ident) for ident in ids[part * 200 : part * 200 + 200]))
        for part in range(5)
    ]
    response = client.composite(parts)
    answers = response.json()["compositeResponse"]
    assert [answer["referenceId"] for answer in answers] == ["r0", "r1", "r2", "r3", "r4"]
    assert {answer["httpStatusCode"] for answer in answers} == {200}
    assert all(result["success"] for answer in answers for result in answer["body"])
    assert response.headers["Sforce-Limit-Info"] == "api-usage=1/115000"
    assert len({write.request_id for write in client.org.writes()}) == 1


def test_a_composite_answers_a_failed_subrequest_in_its_place(client: OrgClient) -> None:
    missing = {"method": "GET", "url": "/services/data/v59.0/nope", "referenceId": "a"}
    parts: list[dict[str, object]] = [
        {**missing},
        collection_part("b", row(T1, SMS_Status__c="Failed")),
    ]
    answers = client.composite(parts).json()["compositeResponse"]
    assert [(a["httpStatusCode"], a["referenceId"]) for a in answers] == [(404, "a"), (200, "b")]
    assert answers[0]["body"][0]["errorCode"] == "NOT_FOUND"


def test_an_all_or_none_composite_rolls_back_every_subrequest(client: OrgClient) -> None:
    good, bad = row(T1, SMS_Status__c="x"), row(task_id(9))
    parts = [collection_part("a", good), collection_part("b", bad), collection_part("c", good)]
    answers = client.composite(parts, all_or_none=True).json()["compositeResponse"]
    assert [answer["httpStatusCode"] for answer in answers] == [400, 200, 400]
    assert answers[0]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert client.org.writes() == []


QUERY_PART: dict[str, object] = {
    "method": "GET",
    "url": "/services/data/v59.0/query?q=SELECT+Id+FROM+Task",
}
LIMITS_PART: dict[str, object] = {"method": "GET", "url": "/services/data/v59.0/limits"}


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        pytest.param([LIMITS_PART] * 25, 200, id="25 light ones"),
        pytest.param([LIMITS_PART] * 26, 400, id="26 light ones"),
        pytest.param([QUERY_PART] * 5 + [LIMITS_PART] * 20, 200, id="5 queries among 25"),
        pytest.param([QUERY_PART] * 6, 400, id="6 queries"),
    ],
)
def test_a_composite_takes_25_subrequests_of_which_5_are_heavy(
    client: OrgClient, parts: list[dict[str, object]], status: int
) -> None:
    numbered = [part | {"referenceId": f"r{index}"} for index, part in enumerate(parts)]
    assert client.composite(numbered).status_code == status


def test_a_composite_needs_distinct_references(client: OrgClient) -> None:
    named = LIMITS_PART | {"referenceId": "a"}
    assert failure(client.composite([named, named])) == (400, "JSON_PARSER_ERROR")
    assert failure(client.composite([LIMITS_PART])) == (400, "JSON_PARSER_ERROR")


QUERIES = [
    ("SELECT Id FROM Task WHERE External_Id__c IN ('m-1', 'm-3','gone')", [T1, T3]),
    ("select id from task where external_id__c = 'M-1'", [T1]),
    ("SELECT Id FROM Task WHERE SMS_Status__c = 'it\\'s' AND Id IN ('{T2}')", [T2]),
    ("SELECT Id FROM Task WHERE SMS_Status__c = null", [T1, T3]),
    ("SELECT Id FROM Task LIMIT 2", [T1, T2]),
    ("SELECT Id FROM Task WHERE Id = '{T9}'", []),
]


@pytest.mark.parametrize(("text", "found"), QUERIES, ids=[text for text, _ in QUERIES])
def test_a_query_finds_tasks(client: OrgClient, text: str, found: list[str]) -> None:
    client.org.add_task(T1, {"External_Id__c": "m-1"})
    client.org.add_task(T2, {"SMS_Status__c": "it's"})
    client.org.add_task(T3, {"External_Id__c": "m-3"})
    page = client.query(text.replace("{T2}", T2).replace("{T9}", task_id(9))).json()
    assert (page["totalSize"], page["done"]) == (len(found), True)
    assert [record["Id"] for record in page["records"]] == found
    assert all(record["attributes"]["type"] == "Task" for record in page["records"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT FROM Task", "MALFORMED_QUERY"),
        ("SELECT Id FROM Task WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Task WHERE Id IN ()", "MALFORMED_QUERY"),
        ("SELECT Id FROM Task GROUP BY Id", "MALFORMED_QUERY"),
        ("SELECT Id FROM Task WHERE Id = 'x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Taks", "INVALID_TYPE"),
        ("SELECT Nope__c FROM Task", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE SMS_Status__c = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
    ],
)
def test_a_wrong_query_is_a_400(client: OrgClient, text: str, code: str) -> None:
    assert failure(client.query(text)) == (400, code)


def test_a_query_of_more_than_two_thousand_rows_comes_in_pages(client: OrgClient) -> None:
    client.org.add_tasks(task_id(number) for number in range(10, 2_510))
    page = client.query("SELECT Id FROM Task").json()
    assert (page["totalSize"], page["done"], len(page["records"])) == (2_503, False, 2_000)
    rest = client.send("GET", page["nextRecordsUrl"].removeprefix("/services/data/v59.0/")).json()
    assert (rest["totalSize"], rest["done"], len(rest["records"])) == (2_503, True, 503)
    assert failure(client.send("GET", "query/01gNope")) == (400, "INVALID_QUERY_LOCATOR")


def test_one_row_is_read_and_written_by_its_id(client: OrgClient) -> None:
    response = client.send("PATCH", f"sobjects/Task/{T1}", json={"SMS_Status__c": "Failed"})
    assert (response.status_code, response.content) == (204, b"")
    read = client.send("GET", f"sobjects/Task/{T1}", params={"fields": "SMS_Status__c"}).json()
    assert (read["Id"], read["SMS_Status__c"]) == (T1, "Failed")
    stamp = client.send("GET", f"sobjects/Task/{T1}").json()["LastModifiedDate"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", stamp)


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PATCH", f"sobjects/Task/{task_id(9)}", {}, (404, "INVALID_CROSS_REFERENCE_KEY")),
        ("PATCH", "sobjects/Task/-1", {}, (404, "NOT_FOUND")),
        ("PATCH", f"sobjects/Task/{T1}", {"SMS_Status__c": "x" * 51}, (400, "STRING_TOO_LONG")),
        ("PATCH", f"sobjects/Task/{T1}", {"Nope__c": 1}, (400, "INVALID_FIELD")),
        ("PATCH", f"sobjects/Task/{T1}", {"Id": T1}, (400, "INVALID_FIELD")),
        ("GET", f"sobjects/Task/{task_id(9)}", None, (404, "NOT_FOUND")),
        ("GET", "sobjects/Nope/describe", None, (404, "NOT_FOUND")),
        ("GET", "composite/sobjects", None, (405, "METHOD_NOT_ALLOWED")),
        ("DELETE", f"sobjects/Task/{T1}", None, (405, "METHOD_NOT_ALLOWED")),
        ("PUT", "limits", None, (405, "METHOD_NOT_ALLOWED")),
    ],
)
def test_what_is_not_there_or_not_allowed_is_told_by_status_and_code(
    client: OrgClient, method: str, path: str, body: object, expected: tuple[int, str]
) -> None:
    assert failure(client.send(method, path, json=body)) == expected


def test_a_request_line_and_headers_have_a_limit(client: OrgClient) -> None:
    assert client.send("GET", "query", params={"q": "x" * 16_400}).status_code == 414
    assert client.send("GET", "limits", headers={"X-Long": "x" * 16_400}).status_code == 431


def test_the_daily_limit_refuses_calls_and_shows_on_every_answer(client: OrgClient) -> None:
    client.org.set_limit(calls_max=2)
    usage = [client.send("GET", "limits") for _ in range(3)]
    assert [u.headers["Sforce-Limit-Info"] for u in usage] == [
        "api-usage=1/2",
        "api-usage=2/2",
        "api-usage=2/2",
    ]
    assert usage[0].json()["DailyApiRequests"] == {"Max": 2, "Remaining": 1}
    assert failure(usage[2]) == (403, "REQUEST_LIMIT_EXCEEDED")
    client.org.set_limit(used=0)
    assert client.send("GET", "limits").status_code == 200


def test_with_tasks_from_any_a_well_formed_id_exists_when_it_is_named() -> None:
    with SandboxOrg(settings=OrgSettings(tasks_from_any=True)) as org, OrgClient(org) as client:
        assert codes(client.update([row(task_id(7)), row("00Tshort")])) == ["ok", "MALFORMED_ID"]

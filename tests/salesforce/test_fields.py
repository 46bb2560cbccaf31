"""The mapped fields: what they take, what they give back, and what is wrong with a mapping."""

from __future__ import annotations

import pytest

from processor.salesforce.fields import Field, encode, problems, read_describe, same

FIELDS = {
    field.name.lower(): field
    for field in (
        Field("SMS_Status__c", "string", True, 50, 0, None),
        Field("Code_Text__c", "string", True, 10, 0, None),
        Field("Code_Number__c", "double", True, 0, 18, None),
        Field("Pick__c", "picklist", True, 255, 0, frozenset(["Delivery", "Failed"])),
        Field("Small__c", "double", True, 0, 2, None),
        Field("Short__c", "string", True, 8, 0, None),
        Field("At__c", "datetime", True, 0, 0, None),
        Field("Final__c", "boolean", True, 0, 0, None),
        Field("Formula__c", "string", False, 50, 0, None),
    )
}


@pytest.mark.parametrize(
    ("values", "encoded"),
    [
        ({"Code_Text__c": 220}, {"Code_Text__c": "220"}),
        ({"code_TEXT__c": 220}, {"code_TEXT__c": "220"}),
        ({"Code_Number__c": 220}, {"Code_Number__c": 220}),
        ({"Code_Text__c": True}, {"Code_Text__c": "true"}),
        ({"Final__c": True}, {"Final__c": True}),
        ({"SMS_Status__c": None}, {"SMS_Status__c": None}),
        ({"Unknown__c": 220}, {"Unknown__c": 220}),
    ],
)
def test_values_are_sent_as_their_fields_take_them(
    values: dict[str, object], encoded: dict[str, object]
) -> None:
    assert encode(values, FIELDS) == encoded


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "equal"),
    [
        ("SMS_Status__c", "Delivery", "Delivery", True),
        ("SMS_Status__c", "Delivery", "delivery", False),
        ("SMS_Status__c", " Delivery ", "Delivery", True),
        ("SMS_Status__c", "", None, True),
        ("SMS_Status__c", "Delivery", None, False),
        ("Code_Number__c", 402, 402.0, True),
        ("Code_Number__c", 402, 403.0, False),
        ("Code_Number__c", 402, None, False),
        ("Code_Text__c", 402, "402", True),
        ("Code_Text__c", 402, "402.0", False),
        ("Final__c", True, True, True),
        ("Final__c", True, 1, False),
        ("At__c", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.000+0000", True),
        ("At__c", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:06.000+0000", False),
        ("At__c", "2026-01-02T03:04:05.678Z", None, False),
    ],
)
def test_values_are_compared_as_salesforce_gives_them_back(
    name: str, ours: object, theirs: object, *, equal: bool
) -> None:
    assert same({name: ours}, {name.lower(): theirs}, FIELDS) is equal


def test_all_values_have_to_be_equal() -> None:
    record = {"sms_status__c": "Delivery", "code_number__c": 200.0}
    assert not same({"SMS_Status__c": "Delivery", "Code_Number__c": 220}, record, FIELDS)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"type": "string", "updateable": True, "length": None}, None),
        ({"type": "string", "updateable": True, "restrictedPicklist": True}, None),
        (
            {
                "type": "picklist",
                "updateable": True,
                "restrictedPicklist": True,
                "picklistValues": [None, 5, {}, {"active": True}, {"value": "Sent"}],
            },
            "lacks",
        ),
        ({"type": None, "updateable": True}, "does not say the type"),
        ({"updateable": True}, "does not say the type"),
        ({"type": "string"}, "may not update it"),
        ({"type": "string", "updateable": "true"}, "may not update it"),
        ({"type": "double", "updateable": True, "precision": "18", "scale": 2}, None),
    ],
)
def test_an_odd_entry_of_describe_matters_only_for_what_it_leaves_open(
    entry: dict[str, object], complaint: str | None
) -> None:
    """It was once a traceback."""
    others: list[object] = [None, 5, "text", [], {}, {"name": None}, {"name": 7}]
    fields = read_describe({"fields": [*others, {"name": "SMS_Status__c", **entry}]})
    assert fields is not None
    mapping = {"SMS_Status__c": "code" if entry.get("type") == "double" else "category"}
    found = problems(mapping, fields)
    assert found == [] if complaint is None else complaint in found[0]


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        ({"Missing__c": "code"}, "no such field"),
        ({"Formula__c": "category"}, "may not update"),
        ({"SMS_Status__c": "colour"}, "no attribute 'colour'"),
        ({"Short__c": "category"}, "holds 8 characters, and 10 are needed"),
        ({"Small__c": "code"}, "holds 2 digits, and 3 are needed"),
        ({"Pick__c": "category"}, "lacks Discarded, Processing"),
        ({"Code_Number__c": "category"}, "type double does not take it"),
        ({"Final__c": "code"}, "type boolean does not take it"),
        ({"At__c": "category"}, "type datetime does not take it"),
    ],
)
def test_a_mapping_that_can_not_work_is_found_at_the_start(
    mapping: dict[str, str], complaint: str
) -> None:
    (found,) = problems(mapping, FIELDS)
    assert found.startswith(next(iter(mapping)) + ":")
    assert complaint in found


def test_a_mapping_that_works_has_no_problems_whatever_the_case_of_its_names() -> None:
    mapping = {
        "SMS_STATUS__C": "category",
        "Code_Text__c": "code",
        "Code_Number__c": "version",
        "At__c": "event_time",
        "Final__c": "final",
    }
    assert problems(mapping, FIELDS) == []


def test_every_problem_is_told_at_once() -> None:
    assert len(problems({"Missing__c": "code", "Formula__c": "category"}, FIELDS)) == 2


def test_describe_is_read() -> None:
    body = {
        "fields": [
            {"name": "Code__c", "type": "double", "updateable": True, "precision": 5, "scale": 2},
            {"name": "Count__c", "type": "int", "updateable": True, "digits": 8},
            {
                "name": "Pick__c",
                "type": "picklist",
                "updateable": False,
                "length": 255,
                "restrictedPicklist": True,
                "picklistValues": [
                    {"value": "A", "active": True},
                    {"value": "B", "active": False},
                ],
            },
        ]
    }
    assert read_describe(body) == {
        "code__c": Field("Code__c", "double", True, 0, 3, None),
        "count__c": Field("Count__c", "int", True, 0, 8, None),
        "pick__c": Field("Pick__c", "picklist", False, 255, 0, frozenset("A")),
    }


@pytest.mark.parametrize("body", [None, [], {}, {"fields": {}}, "text"])
def test_what_is_no_describe_is_not_read(body: object) -> None:
    assert read_describe(body) is None

"""JSON of any shape where an answer is expected: always a value or a word to the admin, no bug."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processor.salesforce.collections import Row, read_parts, read_records, read_rows
from processor.salesforce.fields import encode, problems, read_describe, same
from processor.salesforce.verdicts import judge, judge_row, whole_verdict
from processor.salesforce.wire import Answer

NAMES = (
    "fields name type updateable length digits precision scale restrictedPicklist picklistValues"
    " value active compositeResponse httpStatusCode referenceId body success id errors statusCode"
    " errorCode message SMS_Status__c Number__c At__c string double datetime picklist part0 part1"
).split()
MAPPING = {"SMS_Status__c": "category", "Number__c": "code", "At__c": "event_time"}
VALUES: dict[str, object] = {
    "SMS_Status__c": "Delivery",
    "Number__c": 220,
    "At__c": "2026-01-02T03:04:05.678Z",
}
ROWS = [Row("00T000000000001AAA", VALUES), Row("00T000000000002AAA", VALUES)]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(NAMES)
    | st.sampled_from(["0001-01-01T00:00:00", "9999-12-31T23:59:59+23:59", "\ud800", "A B\r\n"])
    | st.text(max_size=8)
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)

FIELD = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(list(MAPPING)) | anything,
        "type": st.sampled_from(["string", "double", "datetime", "picklist"]) | anything,
        "updateable": st.just(True) | anything,
        "length": anything,
        "digits": anything,
        "precision": anything,
        "scale": anything,
        "restrictedPicklist": st.just(True) | anything,
        "picklistValues": st.lists(
            st.fixed_dictionaries({}, optional={"value": anything, "active": anything}) | anything,
            max_size=3,
        )
        | anything,
    },
)
describes = st.fixed_dictionaries({"fields": st.lists(FIELD | anything, max_size=4)}) | anything
RESULT = st.fixed_dictionaries(
    {},
    optional={
        "success": st.booleans() | anything,
        "id": anything,
        "errors": st.lists(st.dictionaries(st.just("statusCode"), anything)) | anything,
    },
)
PART = st.fixed_dictionaries(
    {"httpStatusCode": st.sampled_from([200, 401, 403, 503]) | anything},
    optional={"referenceId": st.sampled_from(["part0", "part1"]) | anything, "body": anything},
)


@given(body=describes)
def test_a_describe_of_any_shape_is_read_or_not_and_says_what_is_wrong(body: object) -> None:
    fields = read_describe(body)
    if fields is not None:
        for problem in problems(MAPPING, fields):
            assert problem.split(":")[0] in MAPPING
        json.dumps(encode(VALUES, fields))


@given(body=describes, record=anything)
def test_a_record_of_any_shape_is_equal_or_not(body: object, record: object) -> None:
    found = read_records(Answer(200, [record]), 1)
    if found is not None and found[0] is not None:
        assert same(VALUES, found[0], read_describe(body) or {}) in (True, False)


@given(
    body=st.lists(RESULT | anything, min_size=2, max_size=2) | anything,
    status=st.sampled_from([200, 204, 301, 400, 401, 403, 404, 410, 421, 500, 503]),
)
def test_a_result_of_any_shape_comes_to_a_verdict(body: object, status: int) -> None:
    answer = Answer(status, body)
    outcome = judge(answer, writes=True, daily_spent=False)
    whole_verdict(outcome, Random(1))
    codes = [outcome.code]
    codes += [code for code in read_rows(answer, ROWS) or () if code is not None]
    for code in codes:
        judge_row(code, Random(1))
        assert code.isascii()
        assert code.isprintable()
        assert 0 < len(code) <= 80


@given(body=st.fixed_dictionaries({"compositeResponse": st.lists(PART | anything, max_size=3)}))
def test_a_composite_of_any_shape_has_an_answer_for_each_part_or_none(body: object) -> None:
    parts = read_parts(Answer(200, body, 7), 2)
    assert parts is None or [part.generation for part in parts] == [7, 7]

"""MessageMedia's documented JSON shapes, from the samples file and one by one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.commands.produce.events import EventEncoder
from processor.commands.produce.reports import read_lines
from processor.core.report.shapes import to_avro_report
from processor.errors import Rejected, Rejection
from processor.kafka.avro.schemas import schema_text

ENCODER = EventEncoder(schema_text("delivery_event.avsc"), b"")
SAMPLES = Path(__file__).parent.parent / "data" / "delivery_reports.jsonl"
EMPTY = {
    "delivery_report_id": "",
    "message_id": "m",
    "status": "",
    "status_code": 220,
    "date_received": None,
    "submitted_date": None,
    "source_number": "",
    "original_text": "",
    "vendor_account_id": {"vendor_id": "", "account_id": ""},
    "metadata": {},
    "delay": 0,
    "billing_units": 0,
    "callback_url": "",
}


@pytest.fixture(scope="module")
def samples() -> dict[int, dict[str, Any] | Rejection]:
    with SAMPLES.open("rb") as stream:
        return dict(read_lines(stream))


def test_a_callback_keeps_everything(samples: dict[int, Any]) -> None:
    assert samples[3] == {
        "delivery_report_id": "6d2f0b7e-0c3a-4f6b-8e21-7b9f5a1c0d03",
        "message_id": "a1f0c3d2-5b1e-4c58-9a7e-0d3f6b2c4e01",
        "status": "delivered",
        "status_code": 220,
        "date_received": 1_713_310_768_807,
        "submitted_date": 1_713_310_767_551,
        "source_number": "+61491570156",
        "original_text": "Your appointment is at 10:30",
        "vendor_account_id": {"vendor_id": "MessageMedia", "account_id": "ExampleAccount"},
        "metadata": {"salesforce_task_id": "00T5g00000AbCd1EAF", "campaign": "reminder"},
        "delay": 0,
        "billing_units": 1,
        "callback_url": "https://example.com/delivery-reports",
    }


def test_a_row_of_a_messaging_report_is_read_as_a_report(samples: dict[int, Any]) -> None:
    row = samples[6]
    assert (row["status_code"], row["date_received"]) == (220, 1_713_310_809_000)
    assert row["metadata"] == {"salesforce_task_id": "00T5g00000AbCd4EAF", "campaign": "reminder"}
    assert row["source_number"] == "+61491570158"
    assert row["vendor_account_id"] == {"vendor_id": "", "account_id": "ExampleAccount"}
    assert (row["original_text"], row["billing_units"]) == ("Hello world!", 1)


@pytest.mark.parametrize(
    ("line", "code", "received", "delay"),
    [
        (1, 101, 1_713_310_765_387, 0),  # callback
        (4, 220, 1_713_310_802_807, 0),  # webhook, sample template: delay is "0"
        (5, 220, None, 0),  # webhook, minimal template
        (7, 400, 1_713_310_860_000, 4321),  # as an SDK writes it: an offset, delay as text
        (8, 301, 1_713_310_864_000, 0),  # both names of the code
    ],
)
def test_each_documented_shape_is_read(
    samples: dict[int, Any], line: int, code: int, received: int | None, delay: int
) -> None:
    found = samples[line]
    assert (found["status_code"], found["date_received"], found["delay"]) == (
        code, received, delay,
    )  # fmt: skip


def test_bad_lines_are_named_with_their_number_and_the_rest_goes_on(
    samples: dict[int, Any],
) -> None:
    bad = {line: item.reason for line, item in samples.items() if isinstance(item, Rejection)}
    assert bad == {
        9: "no_code",  # as the polling endpoint answers
        10: "no_message_id",
        11: "no_message_id",
        12: "bad_code",
        13: "bad_code",
        14: "bad_date",
        15: "not_a_report",
        16: "bad_json",
    }
    assert sorted(samples) == list(range(1, 17))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"unknown": {"deep": [1]}}, {}),
        ({"status": "220", "status_code": None}, {"status": "220"}),
        ({"status": "402"}, {"status": "402"}),
        ({"error_code": "402"}, {}),
        ({"status_code": None, "error_code": " 221 "}, {"status_code": 221}),
        ({"delay": "x", "billing_units": 2**40}, {}),
        ({"delay": -1, "billing_units": 1e400}, {}),
        ({"units": 2}, {"billing_units": 2}),
        ({"source_number": 61491570156}, {"source_number": "61491570156"}),
        ({"source_number": None, "callback_url": None, "original_text": ["x"]}, {}),
        ({"metadata": None}, {}),
        ({"metadata": "text"}, {}),
        ({"metadata": {"a": None, "b": 1, "c": True}}, {"metadata": {"b": "1", "c": "true"}}),
        ({"metadata": [{"key": "a", "value": "b"}, {"key": 1}, "x"]}, {"metadata": {"a": "b"}}),
        ({"vendor_account_id": None, "account_id": "a"},
         {"vendor_account_id": {"vendor_id": "", "account_id": "a"}}),
        # Half an emoji, as texts cut to a length end with, in what nothing depends on.
        ({"original_text": "Hi \ud83d"}, {"original_text": "Hi \ufffd"}),
        ({"source_number": "\udfff", "callback_url": "\ud800"},
         {"source_number": "\ufffd", "callback_url": "\ufffd"}),
        ({"delivery_report_id": "\ud83d", "status": "\ud83d"},
         {"delivery_report_id": "\ufffd", "status": "\ufffd"}),
        ({"metadata": {"\ud83d": "\ude00!"}}, {"metadata": {"\ufffd": "\ufffd!"}}),
        ({"vendor_account_id": {"vendor_id": "\ud83d", "account_id": "a"}},
         {"vendor_account_id": {"vendor_id": "\ufffd", "account_id": "a"}}),
        ({"original_text": "\U0001f600"}, {"original_text": "\U0001f600"}),
        ({"date_received": ""}, {}),
        ({"date_received": 1_700_000_000_000}, {"date_received": 1_700_000_000_000}),
        ({"delivered_timestamp": "2023-11-14T22:13:20"}, {"submitted_date": 1_700_000_000_000}),
    ],
)  # fmt: skip
def test_what_is_odd_and_not_needed_does_not_matter(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert to_avro_report({"id": "m", "status_code": 220, **changes}) == {**EMPTY, **expected}


@pytest.mark.parametrize(
    ("obj", "reason"),
    [
        (None, "not_a_report"),
        ([], "not_a_report"),
        ({}, "no_message_id"),
        ({"message_id": "m"}, "no_code"),
        ({"message_id": "m", "status": "delivered"}, "no_code"),
        ({"message_id": "m", "status": "999"}, "bad_code"),
        ({"message_id": "m", "status_code": 220.5}, "bad_code"),
        ({"message_id": 5, "status_code": 220}, "bad_message_id"),
        ({"message_id": "m" * 256, "status_code": 220}, "bad_message_id"),
        ({"message_id": "\ud800", "status_code": 220}, "bad_message_id"),
        ({"message_id": "m", "status_code": 220, "submitted_date": "soon"}, "bad_date"),
        ({"message_id": "m", "status_code": 220, "account_id": "\ud83d"}, "bad_account_id"),
        ({"message_id": "m", "status_code": 220, "account_id": "a" * 256}, "bad_account_id"),
        (
            {"message_id": "m", "status_code": 220, "vendor_account_id": {"account_id": "\ud83d"}},
            "bad_account_id",
        ),
    ],
)
def test_what_is_no_usable_report_says_why(obj: object, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        to_avro_report(obj)
    assert caught.value.reason == reason


def test_lines_keep_their_numbers_over_blank_ones_and_survive_any_bytes() -> None:
    stream = io.BytesIO(b'\n{"id":"a","status":"220"}\r\n  \n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    found = [
        (line, item.reason if isinstance(item, Rejection) else item["message_id"])
        for line, item in read_lines(stream)
    ]
    assert found == [(2, "a"), (4, "bad_json"), (5, "bad_json")]


ANY_TEXT = st.text(st.characters(codec=None), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = [*EMPTY, "id", "error_code", "units", "content", "account_id", "last_status_update"]


@given(JSON | st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_json_is_a_report_or_rejected(obj: object) -> None:
    try:
        report = to_avro_report(obj)
    except Rejected:
        return
    assert list(report) == list(EMPTY)
    ENCODER.encode(report)  # what is taken can be written

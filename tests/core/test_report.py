"""What a decoded report means, as tables, and the shortcut's equality with the rules as a law."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import DeliveryEvent
from processor.core.report.fields import (
    EARLIEST_STAMP,
    Oddities,
    ReportRules,
    event_of,
    parse_stamp,
)
from processor.errors import Rejected
from tests.support.rules import READING

NOW = 1_700_000_000_000  # the record's timestamp: 2023-11-14T22:13:20Z
FIELDS = (
    "message_id",
    "status_code",
    "date_received",
    "submitted_date",
    "metadata",
    "vendor_account_id",
)


def report(**changes: Any) -> dict[str, Any]:
    """An ordinary report; `...` takes a field away."""
    fields = {
        "message_id": "m",
        "status_code": 220,
        "date_received": NOW - 10,
        "submitted_date": NOW - 20,
        "metadata": {"salesforce_task_id": "00T1", "other": "x"},
        "vendor_account_id": {"vendor_id": "v", "account_id": "a"},
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def event(
    raw: object, rules: ReportRules | None = None, record_time: int = NOW, **units: int
) -> DeliveryEvent:
    return event_of(raw, record_time, rules or READING, Oddities(), units)


def reason(raw: object) -> str:
    with pytest.raises(Rejected) as caught:
        event(raw)
    return caught.value.reason


def test_an_ordinary_report_gives_its_event() -> None:
    assert event(report()) == DeliveryEvent("m", 220, NOW - 10, NOW, "00T1", "a")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status_code": 402}, 402),
        ({"status_code": "402"}, 402),
        ({"status_code": " 402 "}, 402),
        ({"status_code": 399}, 399),
        ({"status_code": 101, "error_code": "220"}, 101),
        ({"status_code": ..., "error_code": "220"}, 220),
        ({"status_code": None, "error_code": "220"}, 220),
        ({"status_code": " ", "error_code": 220}, 220),
    ],
)
def test_the_code_is_the_first_that_is_set(changes: dict[str, Any], code: int) -> None:
    assert event(report(**changes)).code == code


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"message_id": ...}, "no_message_id"),
        ({"message_id": None}, "no_message_id"),
        ({"message_id": ""}, "no_message_id"),
        ({"message_id": "", "status_code": "abc"}, "no_message_id"),
        ({"message_id": 7}, "bad_message_id"),
        ({"message_id": "x" * 256}, "bad_message_id"),
        ({"message_id": "é" * 128}, "bad_message_id"),
        ({"message_id": "\ud800"}, "bad_message_id"),
        ({"metadata": {"salesforce_task_id": "t" * 256}}, "bad_task_id"),
        ({"metadata": {"salesforce_task_id": "é" * 128}}, "bad_task_id"),
        ({"metadata": {"salesforce_task_id": "\ud83d"}}, "bad_task_id"),
        ({"metadata": [{"key": "salesforce_task_id", "value": "t" * 70_000}]}, "bad_task_id"),
        ({"vendor_account_id": {"account_id": "a" * 256}}, "bad_account_id"),
        ({"vendor_account_id": {"account_id": "𝄞" * 64}}, "bad_account_id"),
        ({"vendor_account_id": {"account_id": "\udfff"}}, "bad_account_id"),
        ({"metadata": None, "vendor_account_id": {"account_id": "a" * 256}}, "bad_account_id"),
        ({"status_code": ...}, "no_code"),
        ({"status_code": None}, "no_code"),
        ({"status_code": ""}, "no_code"),
        ({"status_code": None, "error_code": None}, "no_code"),
        ({"status_code": "abc"}, "bad_code"),
        ({"status_code": "abc", "error_code": "220"}, "bad_code"),
        ({"status_code": 999}, "bad_code"),
        ({"status_code": 0}, "bad_code"),
        ({"status_code": 220.0}, "bad_code"),
        ({"status_code": "220.0"}, "bad_code"),
        ({"status_code": True}, "bad_code"),
        ({"status_code": [220]}, "bad_code"),
        ({"status_code": 999, "metadata": {}}, "bad_code"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(
    changes: dict[str, Any], expected: str
) -> None:
    assert reason(report(**changes)) == expected


def test_a_value_that_is_no_record_is_undecodable() -> None:
    assert reason("text") == "undecodable"


@pytest.mark.parametrize("text", ["x" * 255, "é" * 127, "𝄞" * 63, "\0", " " + "x" * 255 + " "])
def test_other_texts_of_up_to_255_bytes_are_kept_without_the_spaces_around(text: str) -> None:
    found = event(
        report(metadata={"salesforce_task_id": text}, vendor_account_id={"account_id": text})
    )
    assert (found.task_id, found.account_id) == (text.strip(), text.strip())


@pytest.mark.parametrize("message_id", ["x" * 255, "é" * 127, "𝄞" * 63, " "])
def test_an_id_of_up_to_255_bytes_is_kept_as_it_is(message_id: str) -> None:
    assert event(report(message_id=message_id)).message_id == message_id


@pytest.mark.parametrize(
    ("changes", "at", "unusable", "missing", "future"),
    [
        ({}, NOW - 10, 0, 0, 0),
        ({"date_received": NOW}, NOW, 0, 0, 0),
        ({"date_received": None}, NOW - 20, 0, 0, 0),
        ({"date_received": ...}, NOW - 20, 0, 0, 0),
        ({"date_received": "2023-11-14T22:13:19.5Z"}, NOW - 500, 0, 0, 0),
        ({"date_received": "soon"}, NOW - 20, 1, 0, 0),
        ({"date_received": 0}, NOW - 20, 1, 0, 0),
        ({"date_received": 946_684_799_999}, NOW - 20, 1, 0, 0),
        ({"date_received": 946_684_800_000}, 946_684_800_000, 0, 0, 0),
        ({"date_received": True}, NOW - 20, 1, 0, 0),
        ({"date_received": 1.5}, NOW - 20, 1, 0, 0),
        ({"date_received": NOW + 1}, NOW, 0, 0, 1),
        ({"date_received": NOW * 1000}, NOW, 0, 0, 1),
        ({"date_received": "", "submitted_date": ""}, NOW, 2, 1, 0),
        ({"date_received": None, "submitted_date": None}, NOW, 0, 1, 0),
        ({"date_received": ..., "submitted_date": ...}, NOW, 0, 1, 0),
    ],
)
def test_the_event_time_is_the_first_usable_stamp_but_never_after_the_record(
    changes: dict[str, Any], at: int, unusable: int, missing: int, future: int
) -> None:
    stats = Oddities()
    raw = report(**changes)
    assert event_of(raw, NOW, READING, stats).event_time == at
    assert stats == Oddities(unusable, missing, future)
    assert event(raw).event_time == at


def test_the_order_of_the_stamps_is_a_setting() -> None:
    rules = READING._replace(time_fields=("submitted_date", "date_received"))
    assert event(report(), rules).event_time == NOW - 20


def test_finer_integers_are_cut_to_milliseconds() -> None:
    raw = report(date_received=(NOW - 10) * 1000 + 999)
    assert event(raw, date_received=1000).event_time == NOW - 10


@pytest.mark.parametrize(
    ("changes", "at"), [({}, NOW - 10), ({"date_received": None, "submitted_date": None}, None)]
)
def test_a_record_without_a_timestamp_needs_a_stamp(
    changes: dict[str, Any], at: int | None
) -> None:
    raw = report(**changes)
    if at is None:
        with pytest.raises(Rejected, match="no_time"):
            event(raw, record_time=-1)
    else:
        seen = event(raw, record_time=-1)
        assert (seen.event_time, seen.record_time) == (at, -1)


@pytest.mark.parametrize("record_time", [0, 1, NOW // 1000, 946_684_799_999])
def test_a_record_timestamp_from_before_2000_is_none_and_is_counted(record_time: int) -> None:
    """A clock that was not set, or one that counts seconds: it says nothing of the event."""
    stats = Oddities()
    seen = event_of(report(), record_time, READING, stats)
    assert (seen.event_time, seen.record_time) == (NOW - 10, -1)
    with pytest.raises(Rejected, match="no_time"):
        event_of(report(date_received=None, submitted_date=None), record_time, READING, stats)
    assert stats == Oddities(stamps_missing=1, record_times_unusable=2)
    since = event(report(), record_time=946_684_800_000)
    assert since.event_time == since.record_time == 946_684_800_000


@pytest.mark.parametrize(
    ("metadata", "task_id"),
    [
        ({"salesforce_task_id": "00T1"}, "00T1"),
        ({"salesforce_task_id": " 00T1\n"}, "00T1"),
        ({"salesforce_task_id": "  "}, None),
        ({"salesforce_task_id": ""}, None),
        ({"salesforce_task_id": None}, None),
        ({"salesforce_task_id": 7}, None),
        ({"Salesforce_Task_Id": "00T1"}, None),
        ({}, None),
        (None, None),
        (..., None),
        ("00T1", None),
        ([{"key": "a", "value": "b"}, {"key": "salesforce_task_id", "value": "00T1"}], "00T1"),
        ([{"key": "salesforce_task_id"}], None),
        (["salesforce_task_id"], None),
        ([], None),
    ],
)
def test_the_task_comes_from_the_metadata(metadata: object, task_id: str | None) -> None:
    assert event(report(metadata=metadata)).task_id == task_id


def test_the_metadata_key_is_a_setting() -> None:
    assert event(report(), READING._replace(task_id_key="other")).task_id == "x"


@pytest.mark.parametrize(
    ("vendor", "account_id"),
    [
        ({"vendor_id": "v", "account_id": " a "}, "a"),
        ({"vendor_id": "v", "account_id": ""}, None),
        ({"vendor_id": "v"}, None),
        ({"account_id": 7}, None),
        ("a", None),
        (None, None),
        (..., None),
    ],
)
def test_the_account_comes_from_the_vendor_account(vendor: object, account_id: str | None) -> None:
    assert event(report(vendor_account_id=vendor)).account_id == account_id


MIDNIGHT = 1_704_067_200_000  # 2024-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024-01-01T00:00:00Z", MIDNIGHT),
        ("2024-01-01T00:00:00z", MIDNIGHT),
        ("2024-01-01t00:00:00", MIDNIGHT),
        (" 2024-01-01 00:00 ", MIDNIGHT),
        ("2024-01-01", MIDNIGHT),
        ("20240101T000000Z", MIDNIGHT),
        ("2024-01-01T00:00:00+00:00", MIDNIGHT),
        ("2024-01-01T11:00:00+11:00", MIDNIGHT),
        ("2024-01-01T11:00:00+1100", MIDNIGHT),
        ("2023-12-31T18:30:00-05:30", MIDNIGHT),
        ("2024-01-01T00:00:00.5Z", MIDNIGHT + 500),
        ("2024-01-01T00:00:00,5Z", MIDNIGHT + 500),
        ("2024-01-01T00:00:00.123Z", MIDNIGHT + 123),
        ("2024-01-01T00:00:00.1239Z", MIDNIGHT + 123),
        ("2024-01-01T00:00:00.123999999999", MIDNIGHT + 123),
        ("1999-12-31T23:59:59.999Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59.999-14:00", 253_402_351_199_999),
        ("11/3/2016 11:49:02 AM", None),
        ("1704067200000", None),
        ("20240101 00:00", MIDNIGHT),
        ("2024-01-01T000000.5Z", MIDNIGHT + 500),
        # Digits alone, and any other character in between: Python reads all of these as a time.
        ("20240101123456789", None),
        ("20240101112345678", None),
        ("202401011234", None),
        ("20240101", None),
        ("24010112", None),
        ("2024-01-01x00:00", None),
        ("2024-01-01/00:00", None),
        ("2024-01-01.00:00:00", None),
        ("2024-01-01-00:00", None),
        ("2024-01-01\ud80000:00", None),
        ("2024-W01-1", None),
        ("2024-01-01T", None),
        ("2024-01-01  00:00", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-01-01T00:00:60Z", None),
        ("", None),
    ],
)
def test_dates_are_read_as_iso_8601(text: str, at: int | None) -> None:
    assert parse_stamp(text) == at


@given(
    st.datetimes(min_value=datetime(2000, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_a_date_is_the_same_instant_in_every_zone(moment: datetime, offset: int) -> None:
    here = moment.replace(tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(minutes=offset)))
    whole = (here - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_stamp(here.isoformat()) == parse_stamp(there.isoformat()) == whole


TEXTS = (
    st.none()
    | st.sampled_from(["", "é" * 200, "\ud800", "x" * 255, "x" * 256, " " + "x" * 255])
    | st.text(max_size=70)
)
STAMPS = (
    st.none()
    | st.integers(NOW - 5, NOW + 5)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.sampled_from(["2024-01-01T00:00:00Z", "2020-01-01", "soon", 1.5, True])
)
RAW_CODES = (
    st.none()
    | st.sampled_from(sorted(CODES))
    | st.integers(-5, 1000)
    | st.sampled_from(["220", " 220", "abc", "", 220.0, True])
)
REPORTS = st.fixed_dictionaries(
    {
        "message_id": TEXTS | st.integers(),
        "status_code": RAW_CODES,
        "date_received": STAMPS,
        "submitted_date": STAMPS,
        "metadata": st.none()
        | st.dictionaries(st.just("salesforce_task_id"), TEXTS | st.integers())
        | st.just([{"key": "salesforce_task_id", "value": "00T1"}]),
        "vendor_account_id": st.none() | st.fixed_dictionaries({"account_id": TEXTS}),
    },
    optional={"error_code": RAW_CODES},
)


@given(REPORTS, st.integers(0, NOW * 2))
def test_an_event_never_happened_after_its_record(raw: dict[str, Any], record_time: int) -> None:
    try:
        result = event_of(raw, record_time, READING, Oddities())
    except Rejected:
        return
    if record_time < EARLIEST_STAMP:
        assert result.record_time == -1
    else:
        assert 0 <= result.event_time <= result.record_time == record_time


def test_the_fields_that_are_looked_at_follow_from_the_rules() -> None:
    rules = READING._replace(time_fields=("seen_at",))
    assert rules.fields() == {
        "message_id",
        "metadata",
        "vendor_account_id",
        "status_code",
        "error_code",
        "seen_at",
    }


def test_oddities_are_taken_once() -> None:
    odd = Oddities(1, 2, 3, 4, 5, 6)
    assert odd.take() == Oddities(1, 2, 3, 4, 5, 6)
    assert odd == Oddities()

"""What becomes of odd times: the table of docs/event-time.md, from report to status.

Each case is a message's reports in the order in which they arrive, each with the timestamp of
its record, and what they come to.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest

from processor.core.collapse import resolve
from processor.core.events import DeliveryEvent, MessageState
from processor.core.plan import Plan, plan
from processor.core.report.fields import Oddities, event_of
from processor.errors import Rejected, Rejection
from tests.support.rules import READING, RULES

NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MINUTE = 60_000
DAY = 86_400_000
FIELDS = ("message_id", "status_code", "date_received", "submitted_date", "metadata")
FUTURE = "2099-01-01T00:00:00Z"
BEGINNING = 0  # 1970
ARRIVED = (NOW - 3_000, NOW - 2_000, NOW - 1_000, NOW)


class Came(NamedTuple):
    """What a stream came to."""

    state: MessageState | None
    stats: Oddities
    plan: Plan


def run(
    codes: tuple[int, ...],
    stamps: tuple[object, ...],
    records: tuple[int, ...] = ARRIVED,
    *,
    states: dict[str, MessageState] | None = None,
    stream_time: int = 0,
    now: int = NOW,
) -> Came:
    """`stamps` are of date_received; submitted_date is missing."""
    stats = Oddities()
    events: list[DeliveryEvent | Rejection] = []
    for code, stamp, record_time in zip(codes, stamps, records, strict=False):
        report: dict[str, Any] = {
            "message_id": "m",
            "status_code": code,
            "date_received": stamp,
            "submitted_date": None,
            "metadata": {"salesforce_task_id": "00T1"},
        }
        try:
            events.append(event_of(report, record_time, READING, stats))
        except Rejected as rejected:
            events.append(rejected.rejection)
    result = plan(events, states or {}, rules=RULES, now=now, stream_time=stream_time)
    changed = result.changes.get("m")
    return Came(changed.new if changed else None, stats, result)


def status(came: Came) -> int:
    assert came.state is not None
    assert came.state.code == resolve(came.state.history)
    return came.state.code


# -- equal stamps ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((101, 200, 210), 210),  # progress: the further stage
        ((101, 200, 220), 220),
        ((220, 402), 220),  # delivered beats everything
        ((220, 221), 221),
        ((200, 402), 402),
        ((401, 402), 402),  # the greater code
        ((402, 499), 402),  # a code that is known, before one that is not
        ((402, 102), 102),  # the reroute is the answer to the failure
        ((402, 102, 200), 200),
    ],
)
def test_equal_stamps_give_one_status_in_whatever_order_they_arrive(
    codes: tuple[int, ...], expected: int
) -> None:
    for order in itertools.permutations(codes):
        assert status(run(order, (NOW - DAY,) * len(order))) == expected


def test_equal_stamps_of_different_codes_are_counted_once_the_message_is_final() -> None:
    assert run((101, 200), (NOW - DAY,) * 2).plan.same_stamps == 0
    assert run((101, 200, 220), (NOW - DAY,) * 3).plan.same_stamps == 1


# -- minute resolution -------------------------------------------------------------------------


def by_minute(*seconds: int) -> tuple[int, ...]:
    start = NOW - NOW % MINUTE - 10 * MINUTE
    return tuple((start + s * 1_000) // MINUTE * MINUTE for s in seconds)


@pytest.mark.parametrize(
    ("codes", "seconds", "expected"),
    [
        ((101, 200, 220), (1, 2, 40), 220),
        ((200, 402, 102, 200), (1, 10, 20, 30), 200),  # all within the minute
        ((402, 102, 220), (1, 10, 70), 220),
        ((200, 402, 102), (1, 50, 61), 102),
        # The price: the second attempt's failure looks as old as the reroute before it.
        ((402, 102, 402), (1, 10, 20), 102),
        # A minute later it is plain again.
        ((402, 102, 402), (1, 10, 70), 402),
    ],
)
def test_stamps_of_minute_resolution_order_whole_minutes_and_stages_the_rest(
    codes: tuple[int, ...], seconds: tuple[int, ...], expected: int
) -> None:
    assert status(run(codes, by_minute(*seconds))) == expected


# -- in the future -----------------------------------------------------------------------------


def test_a_stamp_in_the_future_is_replaced_by_the_records_timestamp_and_counted() -> None:
    came = run((402, 102, 200), (FUTURE, NOW - 2_500, NOW - 1_500))
    assert came.state is not None
    assert came.state.history[402] == ARRIVED[0]
    assert status(came) == 200  # the failure has not frozen the message
    assert came.stats.stamps_future == 1


def test_all_stamps_in_the_future_leave_the_order_of_arrival() -> None:
    assert status(run((402, 102, 402), (FUTURE,) * 3)) == 402
    assert status(run((402, 402, 102), (FUTURE,) * 3)) == 102


def test_a_record_in_the_future_expires_nothing() -> None:
    came = run((220,), (NOW,), (NOW + 3_000 * DAY,))
    assert came.plan.stream_time == NOW


@pytest.mark.parametrize("record_time", [-1, 0, 1_700_000_000, NOW * 1000], ids=str)
def test_what_nothing_bounds_happened_when_it_was_first_seen(record_time: int) -> None:
    """The record has no timestamp, one of 1970, one in seconds, or one in microseconds."""
    first = run((402,), (FUTURE,), (record_time,))
    assert first.state is not None
    assert first.state.history == {402: NOW}
    assert (first.plan.ahead, first.plan.stream_time) == (1, NOW)
    later = run(
        (102, 200), (NOW + 5_000, NOW + 6_000), (record_time,) * 2,
        states={"m": first.state}, now=NOW + 9_000,
    )  # fmt: skip
    assert status(later) == 200  # the failure has not frozen the message
    assert later.state is not None
    again = run((402,), (FUTURE,), (record_time,), states={"m": later.state}, now=NOW + DAY)
    assert again.state is None  # it tells nothing new
    assert again.plan.counts == {(402, "duplicate"): 1}


def test_a_record_a_little_ahead_of_our_clock_orders_as_any_other() -> None:
    """Our clock may be behind: to cut all that it sees to one moment would lose their order."""
    came = run((402, 102, 402), (NOW + 1, NOW + 2, NOW + 3), (NOW + 10,) * 3)
    assert status(came) == 402
    assert came.plan.ahead == 0
    assert came.plan.stream_time == NOW


# -- from 1970, and missing --------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [BEGINNING, 1, "1970-01-01T00:00:00Z", "1999-12-31T23:59:59Z"])
def test_a_stamp_from_before_2000_counts_as_missing(stamp: object) -> None:
    came = run((402, 102, 200), (stamp, NOW - 2_500, NOW - 1_500))
    assert came.state is not None
    assert came.state.history[402] == ARRIVED[0]
    assert (came.stats.stamps_unusable, came.stats.stamps_missing) == (1, 1)
    assert status(came) == 200


@pytest.mark.parametrize("record_time", [-1, 0, 1, NOW // 1000])
def test_records_of_1970_or_in_seconds_change_nothing(record_time: int) -> None:
    """Taken for a time, they made every event `too_late`, and 402, 102, 402 end as 102."""
    stamps = (NOW - 3_000, NOW - 2_000, NOW - 1_000)
    came = run((402, 102, 402), stamps, (record_time,) * 3, stream_time=NOW - 10)
    assert not came.plan.too_late
    assert status(came) == 402
    assert came.plan.stream_time == NOW - 10
    assert run((402,), stamps[:1], (record_time,)).plan.stream_time == stamps[0]


@pytest.mark.parametrize("stamp", [None, "", "soon"])
def test_events_without_a_stamp_are_ordered_by_their_records(stamp: object) -> None:
    assert status(run((402, 102, 402), (stamp,) * 3)) == 402
    assert status(run((402, 402, 102), (stamp,) * 3)) == 102
    assert run((402, 102, 402), (stamp,) * 3).stats.stamps_missing == 3


def test_without_a_stamp_and_a_timestamp_there_is_no_time_and_it_is_a_dead_letter() -> None:
    came = run((220,), (None,), (-1,))
    assert [rejected.reason for _, rejected in came.plan.rejected] == ["no_time"]


def test_a_record_that_came_late_without_a_stamp_is_as_young_as_its_record() -> None:
    """Redelivered without its stamp, an old failure can hide what was reported after it."""
    once = (NOW - DAY, NOW - DAY + 1, NOW - DAY + 2)
    assert status(run((402, 102, 200, 402), (*once, None))) == 402
    assert status(run((402, 102, 200, 402), (*once, once[0]))) == 200


# -- log-append time ---------------------------------------------------------------------------


def test_an_append_time_that_is_earlier_than_a_stamp_wins_over_it() -> None:
    appended = (NOW - 900, NOW - 800, NOW - 700)
    came = run((402, 102, 200), (NOW - 850, NOW - 900, NOW - 600), appended)
    assert came.state is not None
    assert came.state.history == {402: NOW - 900, 102: NOW - 900, 200: NOW - 700}
    assert came.stats.stamps_future == 2


def test_a_replay_into_a_log_append_topic_keeps_the_order_of_stamps() -> None:
    appended = (NOW + 3 * DAY, NOW + 3 * DAY + 1, NOW + 3 * DAY + 2)
    stamped = tuple(zip((402, 102, 200), (NOW, NOW + 1, NOW + 2), strict=True))
    for order in itertools.permutations(stamped):
        codes, stamps = zip(*order, strict=True)
        assert status(run(codes, stamps, appended, now=NOW + 4 * DAY)) == 200


def test_a_replay_into_a_log_append_topic_after_the_retention_is_too_late() -> None:
    """The append time is the stream's time: beside it, all that is replayed is old."""
    came = run((200, 220), (NOW, NOW + 1), (NOW + 8 * DAY,) * 2, now=NOW + 9 * DAY)
    assert [why.reason for _, why in came.plan.too_late] == ["too_late"] * 2


# -- too late ----------------------------------------------------------------------------------


def test_an_old_event_of_a_message_that_is_not_known_any_more_is_too_late() -> None:
    late = run((200,), (NOW - 8 * DAY,), (NOW,))
    assert [why.reason for _, why in late.plan.too_late] == ["too_late"]
    in_time = run((200,), (NOW - 6 * DAY,), (NOW,))
    assert status(in_time) == 200


def test_of_a_message_that_is_known_no_event_is_too_late() -> None:
    known = run((220,), (NOW - 1,)).state
    assert known is not None
    came = run((402,), (NOW - 30 * DAY,), (NOW,), states={"m": known}, stream_time=NOW)
    assert not came.plan.too_late
    assert status(came) == 220

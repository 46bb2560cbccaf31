"""The second decision table of the product: what becomes of a row for each verdict on it.

Seconds throughout. The sent row is version 3 (a failure); where `newer` says so, version 4 was made
meanwhile. `test_settle_mutants.py` shows which row catches which wrong rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core import settle as right
from processor.core.due import Rules
from processor.core.events import IN_FLIGHT, MessageState, Outcome, Settlement
from processor.core.settle import (
    Deferral,
    Differs,
    Park,
    Reject,
    Retry,
    Settled,
    Stop,
    Unknown,
    Verdict,
)

NOW: Final = 1_700_000_100_250  # a quarter of a second past a quarter of an hour
RULES: Final = Rules(
    failure_hold_ms=7_000,
    intermediate_hold_ms=4_000,
    unknown_after_ms=500_000,
    give_up_after_ms=3_600_000,
    retention_ms=604_800_000,
)
LIMIT_S: Final = 3600.0
LOCK: Final = "UNABLE_TO_LOCK_ROW"
PAUSED: Final = "REQUEST_LIMIT_EXCEEDED"


class Due(NamedTuple):
    """Due again in so many seconds, and in doubt for so many (None: not in doubt)."""

    in_s: float
    doubt_s: float | None = None


class Newer(NamedTuple):
    """A newer version with this code, made so many seconds ago."""

    code: int
    age_s: float


class Row(NamedTuple):
    """`refused` is the code of a refusal, and "" stands for written."""

    name: str
    verdict: Verdict
    becomes: Due | str
    age_s: float = 60.0
    doubt_s: float | None = None
    verified: bool = False
    newer: Newer | None = None
    tried_s: float = 0.0


WRITTEN: Final = ""

ROWS: Final = [
    # -- confirmed
    Row("confirmed", Settled(), WRITTEN),
    Row("confirmed, old", Settled(), WRITTEN, age_s=9e4),
    Row("confirmed, in doubt", Settled(), Due(400, 100), doubt_s=100),
    Row("confirmed, in doubt until just now", Settled(), Due(0, 500), doubt_s=500),
    Row("confirmed, in doubt for long", Settled(), Due(0, 900), doubt_s=900),
    Row("read back and found right", Settled(), WRITTEN, doubt_s=600, verified=True),
    Row("confirmed, newer", Settled(), WRITTEN, newer=Newer(220, 1)),
    Row("confirmed, in doubt, newer", Settled(), Due(5, 100), doubt_s=100, newer=Newer(402, 2)),
    Row("confirmed, in doubt, old", Settled(), Due(400, 100), doubt_s=100, age_s=9e4),
    # -- read back, and not what was written
    Row("differs", Differs(), Due(0), doubt_s=600, verified=True),
    Row("differs, old", Differs(), Due(0), doubt_s=600, verified=True, age_s=9e4),
    Row("differs, newer", Differs(), Due(3), doubt_s=600, verified=True, newer=Newer(200, 1)),
    # -- no answer
    Row("no answer", Unknown("timeout"), Due(0, 0)),
    Row("no answer, in doubt", Unknown("timeout"), Due(0, 0), doubt_s=100),
    Row("no answer, old", Unknown("timeout"), Due(0, 0), age_s=9e4),
    Row("no answer, newer", Unknown("reset"), Due(5, 0), newer=Newer(402, 2)),
    # -- refused
    Row("refused", Reject("ENTITY_IS_DELETED"), "ENTITY_IS_DELETED"),
    Row("refused, in doubt", Reject("ENTITY_IS_DELETED"), "ENTITY_IS_DELETED", doubt_s=100),
    Row("refused, newer", Reject("bad_task_id"), "bad_task_id", newer=Newer(220, 1)),
    # -- not written, but may be
    Row("locked", Retry(15.75, LOCK), Due(15.75)),
    Row("locked again", Retry(2.0, LOCK), Due(104.75), tried_s=100),
    Row("locked again, and so late that it may wait", Retry(15.75, LOCK), Due(15.75), tried_s=9),
    Row("locked for hours", Retry(2.0, LOCK), Due(4499.75), tried_s=9e4),
    Row("locked, a wait that ends between seconds", Retry(15, LOCK), Due(15.75)),
    Row("locked, a wait of less than a second", Retry(0.1, LOCK), Due(0.75)),
    Row("locked, in doubt", Retry(15.75, LOCK), Due(15.75, 100), doubt_s=100),
    Row("locked, just as old as can be", Retry(15.75, LOCK), Due(15.75), age_s=LIMIT_S),
    Row("locked, too old", Retry(15.75, LOCK), LOCK, age_s=LIMIT_S + 0.001),
    Row("locked, newer", Retry(90.75, LOCK), Due(2), newer=Newer(402, 5)),
    Row("locked, newer whose hold is over", Retry(90.75, LOCK), Due(0), newer=Newer(402, 50)),
    Row("locked, newer that is delivered", Retry(90.75, LOCK), Due(0), newer=Newer(220, 0)),
    Row("locked, in doubt, newer", Retry(1, LOCK), Due(2, 9), doubt_s=9, newer=Newer(402, 5)),
    Row("locked, too old, newer", Retry(1, LOCK), LOCK, age_s=4000, newer=Newer(220, 5)),
    Row("org paused", Retry(59.75, PAUSED, whole_org=True), Due(59.75)),
    Row("org paused for long", Retry(941.75, PAUSED, whole_org=True), Due(941.75), tried_s=9e4),
    Row("org paused, too old", Retry(59.75, PAUSED, whole_org=True), Due(59.75), age_s=9e4),
    Row("org paused, newer", Retry(59.75, PAUSED, True), Due(2), age_s=9e4, newer=Newer(402, 5)),
    # -- the Task is not there
    Row("parked", Park(29.75, "no_task"), Due(29.75)),
    Row("parked again", Park(15.0, "no_task"), Due(299.75), tried_s=250),
    Row("parked, a wait that ends between seconds", Park(30, "no_task"), Due(34.75)),
    Row("parked, in doubt", Park(29.75, "no_task"), Due(29.75, 100), doubt_s=100),
    Row("parked, just as old as can be", Park(29.75, "no_task"), Due(29.75), age_s=LIMIT_S),
    Row("parked, too old", Park(29.75, "no_task"), "no_task", age_s=LIMIT_S + 0.001),
    Row("parked, newer", Park(29.75, "no_task"), Due(2), newer=Newer(402, 5)),
    # -- nothing can be written
    Row("stopped", Stop("grant the field"), Due(60)),
    Row("stopped, too old", Stop("grant the field"), Due(60), age_s=9e4),
    Row("stopped, in doubt", Stop("grant the field"), Due(60, 100), doubt_s=100),
    Row("stopped, newer", Stop("grant the field"), Due(2), newer=Newer(402, 5)),
]


def ago(seconds: float | None) -> int:
    return 0 if seconds is None else NOW - round(seconds * 1000)


def sent_row(row: Row) -> MessageState:
    """Its reports are older than its version: a retry's patience counts from the version."""
    return MessageState(
        "m", {200: NOW - 10**8, 402: NOW - 10**8}, 402, "00T1", NOW, "a", NOW, 3, ago(row.age_s),
        2, 200, NOW - 10**8, Outcome.WRITTEN, due_at=IN_FLIGHT, doubt_at=ago(row.doubt_s),
    )  # fmt: skip


def is_right(row: Row, rule: Any) -> bool:
    """Whether a rule (`core/settle.py`, or a wrong one) answers as the row says."""
    sent = sent_row(row)
    tried_since = ago(row.tried_s)
    decided = rule.settle(
        row.verdict, sent, NOW, RULES, verified=row.verified, tried_since=tried_since
    )
    if isinstance(row.becomes, str):
        outcome = Outcome.REJECTED if row.becomes else Outcome.WRITTEN
        return bool(decided == Settlement("m", 3, 402, NOW, outcome, row.becomes))
    if not isinstance(decided, Deferral) or decided[:2] != ("m", 3):
        return False
    current = sent
    if newer := row.newer:
        current = replace(sent, code=newer.code, version=4, version_at=ago(newer.age_s))
    due_at = NOW + round(row.becomes.in_s * 1000)
    expected = replace(current, due_at=due_at, doubt_at=ago(row.becomes.doubt_s))
    return bool(rule.defer(decided, current, NOW, RULES) == expected)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_becomes_of_a_row(row: Row) -> None:
    assert is_right(row, right)


class Flush(NamedTuple):
    """`rows` wait, the first for so many seconds, of at most 100 and 5 seconds."""

    name: str
    rows: int
    waits_s: float
    urgent: bool
    is_due: bool


FLUSHES: Final = [
    Flush("nothing waits", 0, 0, urgent=False, is_due=False),
    Flush("nothing waits any more", 0, 60, urgent=True, is_due=False),
    Flush("one, and its time has not come", 1, 4.999, urgent=False, is_due=False),
    Flush("one whose time has come", 1, 5, urgent=False, is_due=True),
    Flush("one that is urgent", 1, 0, urgent=True, is_due=True),
    Flush("almost as many as may wait", 99, 0, urgent=False, is_due=False),
    Flush("as many as may wait", 100, 0, urgent=False, is_due=True),
]


class Urgency(NamedTuple):
    name: str
    outcome: Outcome
    superseded: bool
    is_urgent: bool


URGENCIES: Final = [
    Urgency("written, and nothing newer", Outcome.WRITTEN, superseded=False, is_urgent=False),
    Urgency("written, and a newer one waits", Outcome.WRITTEN, superseded=True, is_urgent=True),
    Urgency("refused, and nothing newer", Outcome.REJECTED, superseded=False, is_urgent=True),
    Urgency("refused, and a newer one waits", Outcome.REJECTED, superseded=True, is_urgent=True),
]


def is_flushed_right(row: Flush, rule: Any) -> bool:
    due = rule.flush_due(row.rows, ago(row.waits_s), NOW, 5_000, 100, urgent=row.urgent)
    return bool(due == row.is_due)


def is_urgent_right(row: Urgency, rule: Any) -> bool:
    return bool(rule.is_urgent(row.outcome, superseded=row.superseded) == row.is_urgent)


@pytest.mark.parametrize("row", FLUSHES, ids=lambda row: row.name)
def test_when_settlements_are_published(row: Flush) -> None:
    assert is_flushed_right(row, right)


@pytest.mark.parametrize("row", URGENCIES, ids=lambda row: row.name)
def test_which_settlements_are_published_at_once(row: Urgency) -> None:
    assert is_urgent_right(row, right)


def failing(rule: Any) -> Iterable[str]:
    """The names of the rows that a rule gets wrong."""
    yield from (row.name for row in ROWS if not is_right(row, rule))
    yield from (row.name for row in FLUSHES if not is_flushed_right(row, rule))
    yield from (row.name for row in URGENCIES if not is_urgent_right(row, rule))


def test_a_row_that_never_succeeds_is_tried_often_at_first_and_some_thirty_times_a_day() -> None:
    first, now, tries = NOW, NOW, []
    while now - first < 86_400_000:
        tries.append((now - first) / 1000)
        decided = right.settle(
            Park(15.0, "no_task"),
            replace(sent_row(ROWS[0]), version_at=now),
            now, RULES, verified=False, tried_since=first,
        )  # fmt: skip
        assert isinstance(decided, Deferral)
        now = decided.due_at
    assert tries[:4] == [0, 15.75, 31.75, 64.75]
    assert len(tries) == 32


def test_a_row_can_be_named() -> None:
    rows: list[Row | Flush | Urgency] = [*ROWS, *FLUSHES, *URGENCIES]
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)


@given(
    st.sampled_from([row.verdict for row in ROWS]),
    st.sampled_from([0, NOW - 900_000, NOW - 100_000]),
    st.booleans(),
    st.integers(0, 10**8),
)
def test_a_doubt_ends_by_reading_back_or_by_a_refusal_alone(
    verdict: Verdict, doubt_at: int, verified: bool, age_ms: int
) -> None:
    sent = replace(sent_row(ROWS[0]), version_at=NOW - age_ms, doubt_at=doubt_at)
    tried_since = NOW - age_ms // 2
    decided = right.settle(verdict, sent, NOW, RULES, verified=verified, tried_since=tried_since)
    if isinstance(decided, Deferral):
        new = right.defer(decided, sent, NOW, RULES)
        assert new.due_at >= NOW
        assert new.doubt_at >= doubt_at or isinstance(verdict, Differs)
    elif decided.outcome is Outcome.WRITTEN:
        assert not doubt_at or verified


@pytest.mark.parametrize(
    ("verdict", "is_its_own"),
    [
        (Retry(2.0, LOCK), True),
        (Park(15.0, "no_task"), True),
        (Retry(2.0, PAUSED, whole_org=True), False),
        (Settled(), False),
        (Differs(), False),
        (Unknown("timeout"), False),
        (Reject("bad_task_id"), False),
        (Stop("grant the field"), False),
    ],
)
def test_whose_failure_it_is(verdict: Verdict, is_its_own: bool) -> None:
    assert right.is_of_the_row(verdict) is is_its_own

"""What travels with offsets and statuses, and what a start makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core.mark import Identity, Mark, is_adopted, parse, where_to_start
from processor.errors import StopProcessing
from processor.worker.claim import Claim

OURS = Identity("group", "", "statuses", "events")
NAMES = st.text(max_size=40)


@given(NAMES, NAMES, NAMES, NAMES, st.integers(-1, 1 << 62), st.integers(0, 1 << 62))
def test_a_mark_is_read_as_it_was_written(
    group: str, org: str, status: str, events: str, offset: int, stream_time: int
) -> None:
    mark = Mark(Identity(group, org, status, events), offset, stream_time)
    assert parse(mark.text()) == mark


@pytest.mark.parametrize(
    "text",
    [
        None, "", "NULL", "v1 st=", "v1 st=-1", "v1 st=1e3", "{}", "[]", "7", '{"v":1}', "{",
        '{"v":2,"group":"g","org":"","status":"","events":"","offset":"1","st":2}',
        '{"v":2,"group":"g","org":"","status":"","events":"","offset":1,"st":-2}',
        '{"v":2,"group":7,"org":"","status":"","events":"","offset":1,"st":2}',
        '{"v":2,"group":"g","org":"","status":"","events":"","offset":true,"st":2}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_text_of_somebody_else_is_no_mark(text: str | None) -> None:
    assert parse(text) is None


def test_what_the_first_version_wrote_beside_an_offset_is_read() -> None:
    assert parse("v1 st=1700000000123") == Mark(Identity("", "", "", ""), -1, 1_700_000_000_123)


def mark(offset: int, stream_time: int, **other: str) -> Mark:
    return Mark(OURS._replace(**other), offset, stream_time)


@pytest.mark.parametrize(
    ("offset", "beside", "kept", "start", "warned"),
    [
        pytest.param(-1, None, None, (-1, 0), "", id="a first start"),
        pytest.param(7, mark(7, 5), mark(4, 3), (7, 5), "", id="as we left it"),
        pytest.param(7, mark(7, 5), None, (7, 5), "", id="no status was ever written"),
        pytest.param(2, None, mark(4, 3), (2, 3), "offset 2 .* at offset 4", id="set back"),
        pytest.param(9, None, mark(4, 3), (9, 3), "offset 9 .* at offset 4", id="set on"),
        pytest.param(9, None, None, (9, 0), "offset 9 .* none", id="somebody else was first"),
        pytest.param(-1, None, mark(4, 3), (-1, 3), "at offset 4", id="expired offsets"),
        pytest.param(
            7, mark(7, 5, events_topic="old"), mark(4, 3, events_topic="old"),
            (-1, 5), "old.*events.*beginning", id="the events topic was made again",
        ),
        pytest.param(
            7, mark(7, 5), mark(4, 9, events_topic="old"), (7, 9), "",
            id="read on since the topic was made again",
        ),
        pytest.param(
            2, None, mark(4, 3, events_topic="old"), (2, 3), "offset 2 .* none",
            id="set back in a topic that was made again",
        ),
        pytest.param(
            7, mark(7, 5, events_topic="", status_topic=""), None, (7, 5), "",
            id="from before topics had ids here",
        ),
    ],
)  # fmt: skip
def test_where_to_start(
    offset: int, beside: Mark | None, kept: Mark | None, start: tuple[int, int], warned: str
) -> None:
    found = where_to_start(offset, beside, kept, OURS)
    assert found[:2] == start
    assert bool(found.warning) is bool(warned)
    if warned:
        with pytest.raises(UserWarning, match=warned):
            raise UserWarning(found.warning)


def test_offsets_that_go_with_another_status_topic_are_refused_by_group_and_topic() -> None:
    with pytest.raises(StopProcessing, match=r"group group .* status topic of the id lost"):
        where_to_start(7, mark(7, 5, status_topic="lost"), None, OURS)


@pytest.mark.parametrize(
    ("theirs", "org", "says"),
    [
        ({"group": "uat"}, None, r"group uat \(ours: group\)"),
        ({"org": "00D1"}, "00D2", r"org 00D1 \(ours: 00D2\)"),
        ({"status_topic": "copied"}, None, r"topic id copied \(ours: statuses\)"),
    ],
)
def test_another_s_statuses_are_refused_naming_both(
    theirs: dict[str, str], org: str | None, says: str
) -> None:
    kept = mark(4, 3, **theirs)
    claim = Claim("group", "statuses", "events", lambda: org)
    with pytest.raises(StopProcessing, match=says) as refusal:
        claim.meet(0, kept)
    assert not claim.holds()
    assert kept.owner in str(refusal.value)
    adopting = Claim("group", "statuses", "events", lambda: org, [kept.owner])
    adopting.meet(0, kept)
    adopting.require()
    assert adopting.holds()


@pytest.mark.parametrize(
    ("org", "entry", "adopted"),
    [
        ("00D1", "group/00D1/statuses", True),
        ("00D1", "group/-/statuses", True),
        ("", "group/00D1/statuses", True),
        ("00D1", "group/00D2/statuses", False),
        ("00D1", "other/00D1/statuses", False),
        ("00D1", "group/00D1/other", False),
        ("00D1", "group/statuses", False),
        ("", "group/statuses", False),
    ],
)
def test_who_is_adopted(org: str, entry: str, adopted: bool) -> None:
    assert is_adopted(mark(4, 3, org=org), [entry]) is adopted


def test_an_org_that_becomes_known_late_is_judged_then() -> None:
    org: list[str] = []
    claim = Claim("group", "statuses", "events", lambda: org[0] if org else None)
    claim.meet(0, mark(4, 3, org="00D1"))
    claim.require()
    assert claim.holds()
    written = parse(claim.mark(0, 5, 6))
    assert written is not None
    assert written.identity.org == "00D1", "what the records have said is not to be lost"
    assert parse(claim.mark(1, 5, 6)) == mark(5, 6), "of another partition nothing is known"
    org.append("00D2")
    assert not claim.holds()
    with pytest.raises(StopProcessing, match=r"org 00D1 \(ours: 00D2\)"):
        claim.require()


def test_what_is_ours_or_unknown_is_no_conflict() -> None:
    claim = Claim("group", "statuses", "events", lambda: "00D1")
    for kept in (None, mark(1, 1), mark(1, 1, org="00D1"), Mark(Identity("", "", "", ""), -1, 0)):
        claim.meet(0, kept)
        claim.require()
        assert claim.holds()

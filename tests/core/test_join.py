"""Two records of a message come to what both know, in whatever order they are read."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from processor.core.collapse import merge, resolve
from processor.core.events import MessageState, Outcome
from processor.core.join import join, joined

NOW = 1_700_000_000_000
HISTORIES = st.dictionaries(
    st.sampled_from([101, 102, 200, 211, 220, 402]), st.integers(NOW, NOW + 5), min_size=1
)


@st.composite
def records(draw: st.DrawFn) -> MessageState:
    history = draw(HISTORIES)
    version = draw(st.integers(1, 3))
    return MessageState(
        "m", history, resolve(history), draw(st.sampled_from([None, "00T1", "00T2"])),
        draw(st.integers(NOW, NOW + 2)), None, 0, version, NOW + version,
        settled_version=draw(st.integers(0, version)),
    )  # fmt: skip


def record(version: int, *codes: int, settled: int = 0, code: int | None = None) -> MessageState:
    history = {number: NOW + at for at, number in enumerate(codes)}
    return MessageState(
        "m", history, code or resolve(history), "00T1", NOW, None, 0, version, NOW + version,
        settled_version=settled,
    )  # fmt: skip


@given(records(), records())
def test_nothing_is_taken_back(one: MessageState, other: MessageState) -> None:
    both = join(one, other)
    assert both.history == merge(one.history, other.history)
    assert both.code == resolve(both.history)
    assert both.version >= max(one.version, other.version)
    assert both.settled_version == max(one.settled_version, other.settled_version)


@given(records(), records())
def test_the_order_does_not_matter(one: MessageState, other: MessageState) -> None:
    there, back = join(one, other), join(other, one)
    same = ("history", "code", "task_id", "task_at", "version", "settled_version")
    assert [getattr(there, name) for name in same] == [getattr(back, name) for name in same]


@given(records(), records())
def test_a_record_that_was_taken_in_changes_nothing_more(
    one: MessageState, other: MessageState
) -> None:
    both = join(one, other)
    assert join(both, other) == both
    assert join(both, one) == both


def test_the_owner_s_next_record_takes_the_place_of_the_last() -> None:
    before, after = record(1, 200), record(2, 200, 220, settled=1)
    assert join(before, after) == after


def test_an_old_record_behind_a_newer_one_changes_nothing() -> None:
    refused = replace(record(1, 200, settled=1), settled_outcome=Outcome.REJECTED)
    written = record(2, 200, 220, settled=2)
    assert join(written, refused) == written


def test_two_that_each_know_something_owe_what_they_come_to() -> None:
    failed, rerouted = record(2, 200, 402, settled=2), record(2, 200, settled=2)
    rerouted = replace(rerouted, history={200: NOW, 102: NOW + 9}, code=200)
    both = join(failed, rerouted)
    assert both.code == 102
    assert (both.version, both.settled_version) == (3, 2)


def test_records_are_taken_in_the_order_of_the_log() -> None:
    kept, old = record(2, 200, 220), record(1, 200)
    known = {"m": kept}
    assert joined([("m", old)], known) == {"m": kept}
    assert joined([("m", None)], known) == {"m": None}
    assert joined([("m", None), ("m", old)], known) == {"m": old}
    assert joined([("m", old), ("m", kept), ("m", old)], {}) == {"m": kept}

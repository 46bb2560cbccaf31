"""A packed state is the same state when it is unpacked, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import MessageState, Outcome
from processor.errors import StoreFailed
from processor.store.codec import pack, unpack
from tests.support.states import NOW, any_state, state


@given(any_state(st.text(min_size=1, max_size=50)))
def test_unpacking_gives_back_what_was_packed(given: MessageState) -> None:
    found = unpack(given.message_id, pack(given))
    assert found == given
    assert type(found) is MessageState
    assert type(found.settled_outcome) is Outcome
    assert list(found.history) == list(given.history)


def test_a_message_may_have_had_every_code_there_is() -> None:
    everything = replace(state("m"), history=dict.fromkeys(CODES, NOW))
    assert unpack("m", pack(everything)) == everything


def test_no_task_and_an_empty_task_are_two_things() -> None:
    for task, account in ((None, None), ("", ""), (None, ""), ("", None)):
        given = replace(state("m"), task_id=task, account_id=account)
        assert unpack("m", pack(given)) == given


@given(any_state(st.just("m")), st.data())
def test_a_value_cut_short_or_grown_is_refused(given: MessageState, data: st.DataObject) -> None:
    value = pack(given)
    cut = data.draw(st.integers(0, len(value) - 1))
    for wrong in (value[:cut], value + b"\0"):
        with pytest.raises(StoreFailed):
            unpack("m", wrong)


@given(st.binary(max_size=300))
def test_no_bytes_crash_it(value: bytes) -> None:
    try:
        found = unpack("m", value)
    except StoreFailed:
        return
    assert unpack("m", pack(found)) == found


def test_a_value_too_large_for_its_field_is_refused() -> None:
    for wrong in ({"version": 1 << 32}, {"settled_code": -1}, {"task_id": "t" * 70_000}):
        with pytest.raises(StoreFailed):
            pack(replace(state("m"), **wrong))

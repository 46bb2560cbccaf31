"""Message states for tests of stores: what is not said is of no matter."""

from __future__ import annotations

from hypothesis import strategies as st

from processor.core.codes import CATALOGUE, CODES
from processor.core.events import IN_FLIGHT, MessageState, Outcome
from processor.core.plan import Plan

NOW = 1_700_000_000_000
HOUR = 3_600_000


def state(
    message_id: str,
    *,
    code: int = 200,
    at: int = NOW,
    version: int = 1,
    settled: int = 0,
    due: int = 0,
    account: str | None = "a",
) -> MessageState:
    return MessageState(
        message_id, {code: at}, code, "00T000000000001AAA", at, account, at, version, at,
        settled_version=settled, due_at=due,
    )  # fmt: skip


def settled(message_id: str, *, at: int = NOW, code: int = 220) -> MessageState:
    return state(message_id, code=code, at=at, settled=1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMES = st.one_of(st.integers(NOW - 3 * HOUR, NOW + 3 * HOUR), st.integers(0, 1 << 62), st.just(0))
SMALL_TIMES = st.integers(NOW - 3 * HOUR, NOW + 3 * HOUR)
DUE = st.one_of(st.integers(NOW, NOW + 50), st.just(IN_FLIGHT), st.just(0))


@st.composite
def any_state(draw: st.DrawFn, ids: st.SearchStrategy[str]) -> MessageState:
    """Every shape that the store has to keep, sensible or not."""
    codes = st.one_of(
        st.sampled_from([code.number for code in CATALOGUE]), st.sampled_from(sorted(CODES))
    )
    history = draw(st.dictionaries(codes, TIMES, min_size=1, max_size=6))
    return MessageState(
        draw(ids), history, draw(st.sampled_from(sorted(history))),
        draw(st.none() | TEXT), draw(TIMES), draw(st.none() | TEXT), draw(TIMES),
        draw(st.integers(1, 3)), draw(TIMES), draw(st.integers(0, 3)),
        draw(st.sampled_from([0, *sorted(history)])), draw(TIMES),
        draw(st.sampled_from(Outcome)), draw(DUE), draw(TIMES),
    )  # fmt: skip


def after(decided: Plan, message_id: str) -> MessageState:
    """The state of a message as a plan leaves it."""
    new = decided.changes[message_id].new
    assert new is not None
    return new

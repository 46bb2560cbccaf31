"""The collapse rule by examples (the table stands as it was decided) and by laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core.codes import CODES, Stage
from processor.core.collapse import all_at_once, hides_progress, in_conflict, merge, resolve

EXAMPLES = [
    # what happened, reports as (code, time), status
    ("an ordinary delivery", [(101, 1), (200, 2), (220, 3)], 220),
    ("delivered arrives before submitted", [(220, 3), (200, 2)], 220),
    ("delivered is stamped before submitted", [(220, 1), (200, 2)], 220),
    ("failed, rerouted, delivered", [(402, 2), (102, 3), (200, 4), (220, 5)], 220),
    ("failed, rerouted, submitted again", [(402, 2), (102, 3), (200, 4)], 200),
    ("failed, and the reroute comes late", [(200, 1), (402, 2), (102, 3)], 102),
    ("submissions before a reroute count no more", [(210, 1), (102, 2), (200, 3)], 200),
    ("a reroute at the same millisecond as the failure", [(402, 2), (102, 2)], 102),
    ("the second attempt fails too", [(402, 2), (102, 3), (200, 4), (401, 5)], 401),
    ("a failure stamped before the reroute", [(102, 3), (402, 2)], 102),
    ("delivered, then expired", [(220, 1), (401, 2)], 220),
    ("expired, then delivered", [(401, 1), (220, 2)], 220),
    ("the handset, then delivered", [(221, 1), (220, 2)], 221),
    ("the later of two failures", [(401, 1), (400, 2)], 400),
    ("two failures at once: the greater code", [(401, 1), (402, 1)], 402),
    ("two failures at once: a known code first", [(401, 1), (499, 1)], 401),
    ("a later unknown failure", [(401, 1), (399, 2)], 399),
    ("an unknown 2xx is as good as 200", [(101, 9), (222, 1)], 222),
    ("200 beats an unknown 2xx of any time", [(200, 1), (222, 9)], 200),
    ("at the provider beats submitted", [(211, 1), (200, 9)], 211),
    ("the later of two at one stage", [(211, 1), (210, 2)], 210),
    ("an unknown 1xx is processing", [(199, 5)], 199),
    ("a known 1xx beats it", [(199, 5), (101, 1)], 101),
    ("a reroute beats processing", [(101, 5), (102, 5)], 102),
    ("one stamp for all", [(101, 7), (200, 7), (402, 7), (220, 7)], 220),
    ("one stamp for all, failed", [(101, 7), (200, 7), (402, 7)], 402),
]

HISTORIES = st.dictionaries(st.sampled_from(sorted(CODES)), st.integers(0, 20), min_size=1)


@pytest.mark.parametrize(
    ("reports", "status"), [e[1:] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)
def test_example(reports: list[tuple[int, int]], status: int) -> None:
    forward: dict[int, int] = {}
    backward: dict[int, int] = {}
    for code, at in reports:
        forward = merge(forward, {code: at})
    for code, at in reversed(reports):
        backward = merge({code: at}, backward)
    assert resolve(forward) == resolve(backward) == status


@given(HISTORIES, HISTORIES, HISTORIES)
def test_merging_is_a_join(a: dict[int, int], b: dict[int, int], c: dict[int, int]) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a


@given(HISTORIES)
def test_the_status_is_a_code_of_the_history(history: dict[int, int]) -> None:
    assert resolve(history) in history


@given(HISTORIES, st.sampled_from([220, 221]), st.integers(0, 20))
def test_delivered_beats_everything(history: dict[int, int], code: int, at: int) -> None:
    assert CODES[resolve(merge(history, {code: at}))].stage >= Stage.DELIVERED


def fold(reports: list[tuple[int, int]]) -> int:
    """The naive reading, right where clocks are: apply the reports one by one in time order."""
    current = reports[0][0]
    for code, _ in reports[1:]:
        if CODES[code].stage >= Stage.DELIVERED:
            current = max(current, code, key=lambda c: CODES[c].stage)
        elif CODES[current].stage >= Stage.DELIVERED:
            continue
        elif code == 102 or CODES[code].stage is Stage.UNDELIVERED:
            current = code
        elif CODES[current].stage is not Stage.UNDELIVERED:
            current = max(current, code, key=lambda c: (CODES[c].stage, CODES[c].known))
            current = code if _same_rank(current, code) else current
    return current


def _same_rank(one: int, other: int) -> bool:
    return (CODES[one].stage, CODES[one].known) == (CODES[other].stage, CODES[other].known)


@given(st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=12, unique=True))
def test_where_clocks_are_right_it_is_the_fold_over_time(codes: list[int]) -> None:
    reports = [(code, at) for at, code in enumerate(codes)]
    assert resolve(dict(reports)) == fold(reports)


@pytest.mark.parametrize(
    ("judge", "history", "expected"),
    [
        (in_conflict, {220: 1, 401: 2}, True),
        (in_conflict, {221: 1, 401: 0}, True),
        (in_conflict, {220: 3, 402: 1, 102: 2}, False),
        (in_conflict, {401: 2}, False),
        (in_conflict, {220: 2, 200: 1}, False),
        (hides_progress, {402: 1, 200: 2}, True),
        (hides_progress, {402: 2, 200: 1}, False),
        (hides_progress, {402: 1, 101: 2}, False),
        (hides_progress, {402: 1, 200: 2, 220: 3}, False),
        (all_at_once, {101: 5, 220: 5}, True),
        (all_at_once, {101: 5, 220: 6}, False),
        (all_at_once, {101: 5}, False),
    ],
)
def test_oddities_are_told(
    judge: Callable[[dict[int, int]], bool], history: dict[int, int], expected: bool
) -> None:
    assert judge(history) is expected

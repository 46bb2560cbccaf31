"""When a partition is read slowly, when at full speed again, and that no event is counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.core.breaker import Breaker, BreakerRules, Judged

RULES = BreakerRules()
GOOD, BAD = None, (7, "bad_magic")
FEW = BreakerRules(window_events=12, min_rejected=4, probe_events=5)


def fed(batches: list[list[Judged]], rules: BreakerRules = RULES) -> tuple[Breaker, int]:
    """The breaker after these, and how many events it has taken. What it does not take of a batch
    comes again as the next one.
    """
    breaker, total = Breaker(rules), 0
    for batch in batches:
        left = batch
        while left:
            before, (breaker, taken) = breaker, breaker.after(left)
            assert before.after(left)[0].recent == breaker.recent  # a value
            assert taken > 0
            left, total = left[taken:], total + taken
    return breaker, total


@pytest.mark.parametrize(
    ("batches", "opens"),
    [
        ([[BAD] * 99], False),
        ([[BAD] * 100], True),
        ([[GOOD] * 100 + [BAD] * 100], False),
        ([[GOOD] * 100 + [BAD] * 101], True),
        ([[GOOD] * 1000, [BAD] * 500], False),
        ([[GOOD] * 1000, [BAD] * 501], True),
        ([[GOOD, BAD] * 2000], False),
        ([[BAD] * 99, [GOOD] * 1000, [BAD] * 99], False),
        ([[BAD] * 400], True),
    ],
)
def test_it_opens_on_more_than_half_and_at_least_a_hundred(
    batches: list[list[Judged]], opens: bool
) -> None:
    assert fed(batches)[0].is_open is opens


@pytest.mark.parametrize(
    ("since", "is_open"),
    [
        ([], True),
        ([GOOD] * 49, True),
        ([GOOD] * 50, False),
        ([BAD] * 1000, True),
        ([BAD] * 1000 + [GOOD] * 25, True),
        ([BAD] * 1000 + [GOOD] * 26, False),
        ([BAD] * 25 + [GOOD] * 25, True),
        ([BAD] * 24 + [GOOD] * 26, False),
        ([GOOD] * 50 + [BAD] * 99, False),
        ([GOOD] * 50 + [BAD] * 100, True),
    ],
)
def test_it_closes_when_good_events_prevail(since: list[Judged], is_open: bool) -> None:
    assert fed([[BAD] * 100, since])[0].is_open is is_open


@pytest.mark.parametrize(
    ("batch", "taken"),
    [([BAD] * 5000, 100), ([GOOD] * 30 + [BAD] * 5000, 130), ([GOOD] * 5000, 5000)],
)
def test_of_a_batch_it_takes_no_more_than_what_opens_it(batch: list[Judged], taken: int) -> None:
    assert Breaker(RULES).after(batch)[1] == taken


@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=80), st.data())
def test_batches_make_no_difference_and_every_event_is_taken(
    events: list[Judged], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    batches = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    whole, apart = fed([events], FEW), fed(batches, FEW)
    assert whole[1] == apart[1] == len(events)
    assert (whole[0].is_open, whole[0].recent) == (apart[0].is_open, apart[0].recent)


@pytest.mark.parametrize(
    ("per_minute", "slot_s", "events"), [(100, 6, 10), (6000, 6, 600), (1, 60, 1), (7, 60 / 7, 1)]
)
def test_the_pace_is_what_was_asked_for(per_minute: int, slot_s: float, events: int) -> None:
    rules = BreakerRules(events_per_minute=per_minute)
    assert (rules.slot_s, rules.slot_events) == (slot_s, events)

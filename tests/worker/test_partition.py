"""The partitions that are ours: which run, and when their settlements are published."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import pytest

from processor.core.settle import Reject, Settled
from processor.ports import Position, Result
from processor.worker import partition as right
from tests.support.mutants import Mutant
from tests.support.partitions import restoring
from tests.support.rules import RULES
from tests.support.states import NOW, state

INTERVAL_MS: Final = 5_000
MOST_ROWS: Final = 3


class Row(NamedTuple):
    """Settlements of partitions 3 and 8 (how long each has waited, ms), and which are refused."""

    name: str
    of_3: list[int]
    of_8: list[int]
    refused: set[int]
    is_due: bool


ROWS: Final = [
    Row("nothing waits", [], [], set(), is_due=False),
    Row("some wait", [4_999], [0], set(), is_due=False),
    Row("the first of the first waits long enough", [5_000], [0], set(), is_due=True),
    Row("the first of the last waits long enough", [0], [5_000], set(), is_due=True),
    Row("as many as may wait, together", [2], [1, 0], set(), is_due=True),
    Row("one of the first is refused", [1], [0], {1}, is_due=True),
    Row("one of the last is refused", [1], [0], {0}, is_due=True),
    Row("one alone is refused", [], [0], {0}, is_due=True),
]


def is_right(row: Row, rule: Any) -> bool:
    assignment = rule.Assignment({number: restoring(number, RULES) for number in (3, 8)})
    for number, ages in ((3, row.of_3), (8, row.of_8)):
        for place, age in enumerate(ages):
            settlements = assignment[number].settlements
            settlements.hand_over(state(f"m{place}"), NOW)
            verdict = Reject("FIELD") if age in row.refused else Settled()
            settlements.take(Result(f"m{place}", number, 1, verdict), NOW - age)
    return bool(assignment.flush_due(NOW, INTERVAL_MS, MOST_ROWS) == row.is_due)


def failing(rule: Any) -> Iterable[str]:
    return (row.name for row in ROWS if not is_right(row, rule))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_settlements_of_all_partitions_are_published_together(row: Row) -> None:
    assert is_right(row, right)


MUTANTS: Final = [
    Mutant("rows are counted by partition", "sum(map(len, waiting))",
           "max(map(len, waiting), default=0)", "as many as may wait, together"),
    Mutant("the last to wait dates the others", "min((some", "max((some",
           "the first of the first waits long enough"),
    Mutant("all must be urgent", "any(some.urgent", "all(some.urgent",
           "one of the last is refused"),
    Mutant("nothing is urgent", "urgent=any(some.urgent for some in waiting)", "urgent=False",
           "one alone is refused"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_row(wrong: Mutant) -> None:
    assert wrong.row in list(failing(wrong.of(right)))


def test_a_partition_runs_from_where_it_was_restored_to() -> None:
    assignment = right.Assignment({number: restoring(number, RULES) for number in (3, 8)})
    assert [waiting.partition for waiting in assignment.restoring()] == [3, 8]
    assert assignment.running() == assignment.which_run([3, 8]) == []
    assignment[8].run(Position(40, NOW))
    assert [waiting.partition for waiting in assignment.restoring()] == [3]
    assert assignment.running() == assignment.which_run([3, 8, 9]) == [assignment[8]]
    assert assignment.which_run([3]) == []
    assert assignment.running_numbers() == [8]
    assert assignment[8].position == (40, NOW)

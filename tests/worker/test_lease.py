"""What is surely ours, second by second, with a lease of 30 seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import pytest

from processor.core.mark import Identity, Mark
from processor.worker import lease as right
from processor.worker.claim import Claim
from tests.support.clocks import HandTurnedClock
from tests.support.mutants import Mutant

LEASE_S: Final = 30.0


class Row(NamedTuple):
    """After these proofs (partitions, when their transaction began), and after partitions were
    given up, at `now_s`: whether a request with rows of 1 and 2 may be sent, of which of them rows
    may be handed over, and which of them are to be proven again.
    """

    name: str
    proofs: list[tuple[set[int], float]]
    now_s: float
    holds: bool
    held: set[int]
    to_renew: set[int]
    given_up: tuple[int, ...] = ()


ROWS: Final = [
    Row("never proven", [], 0, False, set(), {1, 2}),
    Row("just proven", [({1, 2}, 100)], 100, True, {1, 2}, set()),
    Row("almost a third later", [({1, 2}, 100)], 109.9, True, {1, 2}, set()),
    Row("a third later", [({1, 2}, 100)], 110, True, {1, 2}, {1, 2}),
    Row("almost over", [({1, 2}, 100)], 129.9, True, {1, 2}, {1, 2}),
    Row("over", [({1, 2}, 100)], 130, False, set(), {1, 2}),
    Row("one of two never proven", [({1}, 100)], 101, False, {1}, {2}),
    Row("one of two is over", [({1}, 100), ({2}, 120)], 130, False, {2}, {1, 2}),
    Row("proven again", [({1, 2}, 100), ({1, 2}, 125)], 131, True, {1, 2}, set()),
    Row("another is proven later", [({1, 2}, 100), ({3}, 109)], 110, True, {1, 2}, {1, 2}),
    Row("another is given up", [({1, 2, 3}, 100)], 101, True, {1, 2}, set(), given_up=(3,)),
    Row("one is given up", [({1, 2}, 100)], 101, False, {1}, {2}, given_up=(2,)),
    Row("one that was never ours is given up", [({1, 2}, 100)], 101, True, {1, 2}, set(), (9,)),
]  # fmt: skip


def is_right(row: Row, rule: Any) -> bool:
    clock = HandTurnedClock(row.now_s)
    lease = rule.Lease(rule.Ownership(LEASE_S), clock, Claim("group", "statuses", "events"))
    for partitions, began_s in row.proofs:
        lease.proven(partitions, began_s)
    for partition in row.given_up:
        lease.forget(partition)
    answers = (lease.holds([1, 2]), lease.held([1, 2]), lease.to_renew([1, 2]))
    return bool(answers == (row.holds, row.held, row.to_renew))


def failing(rule: Any) -> Iterable[str]:
    return (row.name for row in ROWS if not is_right(row, rule))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_surely_ours(row: Row) -> None:
    assert is_right(row, right)


PROVEN: Final = "self._proven_s.update(dict.fromkeys(partitions, began_s))"
FORGOTTEN: Final = "self._proven_s.pop(partition, None)"
HELD: Final = "return all(self._age_s(p, now_s) < self._lease_s for p in partitions)"
STALE: Final = ">= self._lease_s * RENEWED_AFTER"

MUTANTS: Final = [
    Mutant("what was never proven is ours", 'float("-inf")', "now_s", "never proven"),
    Mutant("never refused", HELD, "return True", "over"),
    Mutant("holds a moment too long", HELD, HELD.replace("<", "<="), "over"),
    Mutant("holds for a third", HELD, HELD.replace("_s for", "_s * RENEWED_AFTER for"),
           "almost over"),
    Mutant("one that is proven stands for all", HELD, HELD.replace("all", "any"),
           "one of two never proven"),
    Mutant("what is handed over needs all of them", "self.holds((p,), now_s)",
           "self.holds(partitions, now_s)", "one of two is over"),
    Mutant("not renewed before it is over", STALE, ">= self._lease_s", "a third later"),
    Mutant("renewed a moment late", STALE, STALE.replace(">=", ">"), "a third later"),
    Mutant("renewed all the time", STALE, ">= 0", "just proven"),
    Mutant("renewed only while it holds", STALE, STALE + " and self.holds((p,), now_s)",
           "never proven"),
    Mutant("given up and still ours", FORGOTTEN, "pass", "one is given up"),
    Mutant("one given up and all are", FORGOTTEN, "self._proven_s.clear()", "another is given up"),
    Mutant("the first proof counts", PROVEN,
           "self._proven_s = {**dict.fromkeys(partitions, began_s), **self._proven_s}",
           "proven again"),
    Mutant("the last proof counts alone", PROVEN,
           "self._proven_s = dict.fromkeys(partitions, began_s)", "another is proven later"),
    Mutant("a proof proves all", PROVEN,
           "self._proven_s = dict.fromkeys([*self._proven_s, *partitions], began_s)",
           "another is proven later"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_row(wrong: Mutant) -> None:
    assert wrong.row in list(failing(wrong.of(right)))


def sent_for_another_org(rule: Any) -> bool:
    """Whether it holds once the org turns out not to be that of the status topic."""
    org: list[str] = []
    claim = Claim("group", "statuses", "events", lambda: org[0] if org else None)
    claim.meet(1, Mark(Identity("group", "00D1", "statuses", "events"), 4, 3))
    lease = rule.Lease(rule.Ownership(LEASE_S), HandTurnedClock(), claim)
    lease.proven([1], HandTurnedClock().monotonic_s())
    assert lease.holds([1])
    org.append("00D2")
    return bool(lease.holds([1]))


def test_nothing_is_sent_where_the_statuses_are_of_another_org() -> None:
    assert not sent_for_another_org(right)
    assert sent_for_another_org(Mutant("", " and self._claim.holds()", "", "").of(right))

"""Which owed rows go to the writer, how they look there, and how long to wait for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import pytest

from processor.core.events import IN_FLIGHT, MessageState
from processor.ports import Owed, Writer
from processor.worker import dispatcher as right
from tests.support.memory_store import MemoryStore
from tests.support.mutants import Mutant
from tests.support.partitions import restoring
from tests.support.rules import RULES
from tests.support.states import NOW, state

SECOND: Final = 1_000


class Window:
    """As much of `ports.Writer` as a dispatcher needs. Looks into the store when rows come."""

    def __init__(self, store: MemoryStore, room: int) -> None:
        self._store, self._room = store, room
        self.rows: list[Owed] = []
        self.in_flight: list[bool] = []

    def room(self, org: str) -> int:
        return self._room if org == "default" else 0

    def submit(self, rows: Sequence[Owed]) -> None:
        for row in rows:
            kept = self._store.get_many(row.partition, [row.message_id])[row.message_id]
            self.in_flight.append(kept.due_at == IN_FLIGHT)
        self.rows += rows


class Desk:
    """Partitions 3 and 8 with these owed rows, and a dispatcher, right or wrong."""

    def __init__(self, rule: Any, rows: dict[int, list[MessageState]], room: int = 10) -> None:
        store = self.store = MemoryStore()
        self.partitions = []
        for number in (3, 8):
            store.open(number)
            store.load(number, [(row.message_id, row) for row in rows.get(number, [])], 0)
            self.partitions.append(restoring(number, RULES))
        self.window = Window(store, room)
        self._rule = rule
        self.dispatcher = self.with_fields({"Code__c": "code"})

    def with_fields(self, fields: dict[str, str]) -> Any:
        writer = cast(Writer, self.window)
        return self._rule.Dispatcher(self.store, writer, fields, "default")

    def refill(self, now: int = NOW) -> list[str]:
        self.dispatcher.refill(self.partitions, now)
        return [row.message_id for row in self.window.rows]

    def wait_s(self) -> float:
        return float(self.dispatcher.wait_s([3, 8], NOW, 5.0))


def due(message_id: str, in_ms: int = 0, code: int = 200) -> MessageState:
    return state(message_id, code=code, due=NOW + in_ms)


def rows_whose_time_has_come_are_handed_over(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a"), due("b", 1)], 8: [due("c", -1)]})
    assert sorted(desk.refill()) == ["a", "c"]
    assert sorted(desk.refill(NOW + 1)) == ["a", "b", "c"]


def a_row_is_in_hand_in_the_store_before_it_is_handed_over(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a")]})
    assert desk.refill() == ["a"]
    assert desk.window.in_flight == [True]
    assert desk.refill() == ["a"]


def the_result_of_a_handed_row_is_awaited(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a")], 8: [due("c")]})
    desk.refill()
    assert [len(partition.settlements._in_flight) for partition in desk.partitions] == [1, 1]


def no_more_rows_than_the_writer_takes(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a"), due("b")], 8: [due("c")]}, room=2)
    assert len(desk.refill()) == 2
    assert Desk(rule, {3: [due("a")]}, room=0).refill() == []


def of_a_partition_that_is_not_proven_nothing(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a")], 8: [due("c")]})
    del desk.partitions[0]
    assert desk.refill() == ["c"]
    del desk.partitions[0]
    assert desk.refill() == ["c"]


def a_row_says_where_it_is_from_and_what_to_write(rule: Any) -> None:
    desk = Desk(rule, {8: [replace(due("c", code=220), version=4)]})
    desk.refill()
    assert desk.window.rows == [
        Owed("c", 8, 4, "default", "00T000000000001AAA", {"Code__c": 220}, verify=False)
    ]


def a_row_without_a_task_has_an_empty_one(rule: Any) -> None:
    desk = Desk(rule, {3: [replace(due("a"), task_id=None)]})
    desk.refill()
    assert desk.window.rows[0].task_id == ""


def an_old_doubt_is_to_be_read_back(rule: Any) -> None:
    doubts = [NOW - RULES.unknown_after_ms, NOW - RULES.unknown_after_ms + 1]
    rows = [replace(due(name), doubt_at=at) for name, at in zip("ab", doubts, strict=True)]
    desk = Desk(rule, {3: rows})
    desk.refill()
    assert {row.message_id: row.verify for row in desk.window.rows} == {"a": True, "b": False}


def values_are_the_rows_own(rule: Any) -> None:
    desk = Desk(rule, {3: [due("a"), replace(due("b", code=220), version=2), due("c")]})
    desk.dispatcher = desk.with_fields({"Final__c": "final"})
    desk.refill()
    finals = {row.message_id: row.values["Final__c"] for row in desk.window.rows}
    assert finals == {"a": False, "b": True, "c": False}
    desk = Desk(rule, {3: [due("a"), replace(due("b"), version=2)]})
    desk.dispatcher = desk.with_fields({"Code__c": "code", "Version__c": "version"})
    desk.refill()
    assert {row.message_id: row.values for row in desk.window.rows} == {
        "a": {"Code__c": 200, "Version__c": 1},
        "b": {"Code__c": 200, "Version__c": 2},
    }


def the_wait_ends_when_the_next_row_is_due(rule: Any) -> None:
    assert Desk(rule, {}).wait_s() == 5.0
    assert Desk(rule, {3: [due("a", 3 * SECOND)], 8: [due("c", 4 * SECOND)]}).wait_s() == 3.0
    assert Desk(rule, {3: [due("a", 9 * SECOND)]}).wait_s() == 5.0
    assert Desk(rule, {3: [state("a", due=IN_FLIGHT)]}).wait_s() == 5.0


def a_row_that_is_due_is_waited_for_a_moment_and_longer_without_room(rule: Any) -> None:
    assert Desk(rule, {3: [due("a", -1)]}).wait_s() == 0.01
    assert Desk(rule, {3: [due("a", -1)]}, room=0).wait_s() == 0.1


SCENARIOS: Final[dict[str, Callable[[Any], None]]] = {
    scenario.__name__: scenario
    for scenario in (
        rows_whose_time_has_come_are_handed_over,
        a_row_is_in_hand_in_the_store_before_it_is_handed_over,
        the_result_of_a_handed_row_is_awaited,
        no_more_rows_than_the_writer_takes,
        of_a_partition_that_is_not_proven_nothing,
        a_row_says_where_it_is_from_and_what_to_write,
        a_row_without_a_task_has_an_empty_one,
        an_old_doubt_is_to_be_read_back,
        values_are_the_rows_own,
        the_wait_ends_when_the_next_row_is_due,
        a_row_that_is_due_is_waited_for_a_moment_and_longer_without_room,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_dispatcher(name: str) -> None:
    SCENARIOS[name](right)


PUT: Final = "self._store.put_many(number, map(Change, states, handed))"
OWN: Final = "{**values, **values_of(state, self._own)}"

MUTANTS: Final = [
    Mutant("in flight in nobody's account", PUT, "pass",
           "a_row_is_in_hand_in_the_store_before_it_is_handed_over"),
    Mutant("handed over before it is in flight", PUT, "self.submit(numbers[number], handed, now)\n"
           f"            {PUT}\n            continue",
           "a_row_is_in_hand_in_the_store_before_it_is_handed_over"),
    Mutant("the writer has room for all", "now, room, numbers", "now, 10**9, numbers",
           "no_more_rows_than_the_writer_takes"),
    Mutant("rows of all partitions", "now, room, numbers.keys()", "now, room, None",
           "of_a_partition_that_is_not_proven_nothing"),
    Mutant("rows before their time", "self._org, now, room", "self._org, now + 1000, room",
           "rows_whose_time_has_come_are_handed_over"),
    Mutant("nobody awaits a result", "*hand_over(state, now)", "False, False",
           "the_result_of_a_handed_row_is_awaited"),
    Mutant("never read back", "*hand_over(state, now),",
           "bool(hand_over(state, now)) and False, False,",
           "an_old_doubt_is_to_be_read_back"),
    Mutant("no Task is None", 'state.task_id or ""', "state.task_id",
           "a_row_without_a_task_has_an_empty_one"),
    Mutant("another version's number", "state.version", "state.settled_version",
           "a_row_says_where_it_is_from_and_what_to_write"),
    Mutant("values of the code's last row for all", OWN,
           "values.update(values_of(state, self._own)) or values", "values_are_the_rows_own"),
    Mutant("of a row's own values nothing", OWN, "values", "values_are_the_rows_own"),
    Mutant("of values of the code nothing", OWN, "values_of(state, self._own)",
           "values_are_the_rows_own"),
    Mutant("one code's values for all codes", "self._made.get(state.code)",
           "next(iter(self._made.values()), None)", "values_are_the_rows_own"),
    Mutant("no wait at all", "max((due_at - now) / 1000, least_s)", "(due_at - now) / 1000",
           "a_row_that_is_due_is_waited_for_a_moment_and_longer_without_room"),
    Mutant("as eager without room", "SHORTEST_WAIT_S if self.room() > 0 else NO_ROOM_WAIT_S",
           "SHORTEST_WAIT_S",
           "a_row_that_is_due_is_waited_for_a_moment_and_longer_without_room"),
    Mutant("milliseconds are seconds", "(due_at - now) / 1000", "(due_at - now)",
           "the_wait_ends_when_the_next_row_is_due"),
    Mutant("waits until the next is due, however long",
           "min(max((due_at - now) / 1000, least_s), most_s)",
           "max((due_at - now) / 1000, least_s)", "the_wait_ends_when_the_next_row_is_due"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_scenario(wrong: Mutant) -> None:
    rule = wrong.of(right)
    with pytest.raises((AssertionError, LookupError)):
        SCENARIOS[wrong.row](rule)

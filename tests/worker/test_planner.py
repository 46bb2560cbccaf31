"""What the planner gives `core/plan.py` for each partition, and what expires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from processor.core.breaker import BreakerRules
from processor.core.events import IN_FLIGHT, DeliveryEvent, MessageState, Outcome
from processor.core.plan import Plan
from processor.core.report.fields import Oddities
from processor.core.settle import Settled
from processor.errors import Rejection
from processor.ports import Position, RawRecord, Result
from processor.worker import planner as right
from processor.worker.partition import Assignment
from tests.kafka.avro.avro_kit import Record
from tests.support.memory_store import MemoryStore
from tests.support.mutants import Mutant
from tests.support.partitions import restoring
from tests.support.rules import RULES
from tests.support.states import NOW, after, settled, state

BREAKER: Final = BreakerRules(
    events_per_minute=100, window_events=4, min_rejected=2, max_share=0.5, probe_events=50
)
BAD: Final = Rejection("bad_magic")


class Letters:
    """Implements `ports.Decoder`: a record's time is its code; 0 can't be decoded. Every record is
    odd.
    """

    def __init__(self) -> None:
        self._oddities = Oddities()

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        self._oddities.stamps_missing += len(records)
        return [event(code) if (code := r.timestamp()[1]) else BAD for r in records]

    def take_oddities(self) -> Oddities:
        return self._oddities.take()


class Desk:
    """Partitions 3 and 8, both with the states of `l`, `m` and `n`, and a planner."""

    def __init__(self, rule: Any) -> None:
        store, assignment = MemoryStore(), Assignment()
        for number in (3, 8):
            store.open(number)
            store.load(number, [(name, sent(name)) for name in ("l", "m", "n")], 0)
            assignment[number] = restoring(number, RULES, BREAKER)
            assignment[number].run(Position(40, NOW + number))
        self.partitions = assignment
        self.store = store
        self._planner = rule.Planner(Letters(), store, RULES, assignment)

    def settle(self, number: int, *ids: str) -> None:
        for name in ids:
            self.partitions[number].settlements.hand_over(sent(name), NOW)
            self.partitions[number].settlements.take(Result(name, number, 1, Settled()), NOW)

    def plans(
        self,
        events: dict[int, list[DeliveryEvent | Rejection]],
        expiring: dict[int, list[MessageState]] | None = None,
        *,
        flush: bool = False,
        room: int = 10,
    ) -> dict[int, Plan]:
        return dict(self._planner.plans(events, expiring or {}, flush=flush, now=NOW, room=room))

    def decode(self, batches: dict[int, list[RawRecord]]) -> Any:
        return self._planner.decode(batches, 1_000.0)


def sent(name: str) -> MessageState:
    return state(name, due=IN_FLIGHT)


def event(code: int, name: str = "m") -> DeliveryEvent:
    return DeliveryEvent(name, code, NOW, NOW, "00T000000000001AAA", "a")


def records(*codes: int) -> list[RawRecord]:
    return [Record(None, code) for code in codes]


def a_batch_settles_its_own_messages(rule: Any) -> None:
    desk = Desk(rule)
    desk.settle(3, "l", "m")
    plans = desk.plans({3: [event(200), BAD], 8: []})
    assert [s.message_id for s in plans[3].considered] == ["m"]
    assert after(plans[3], "m").settled_outcome is Outcome.WRITTEN
    assert plans[8] == Plan(stream_time=NOW + 8)


def a_flush_settles_all(rule: Any) -> None:
    desk = Desk(rule)
    desk.settle(3, "l", "m")
    desk.settle(8, "n")
    plans = desk.plans({3: [event(200, "m")], 8: []}, flush=True)
    assert plans[3].changes.keys() == {"l", "m"}
    assert plans[8].changes.keys() == {"n"}


def a_message_goes_on_from_its_state(rule: Any) -> None:
    plans = Desk(rule).plans({3: [event(220)], 8: [event(220, "o")]})
    assert plans[3].changes["m"].old == sent("m")
    assert plans[3].superseding == ["m"]
    assert plans[8].changes["o"].old is None


def the_writers_room_is_there_once(rule: Any) -> None:
    delivered: list[DeliveryEvent | Rejection] = [event(220, "o"), event(220, "p")]
    plans = Desk(rule).plans({3: [*delivered], 8: [*delivered]}, room=3)
    assert [len(plan.hand_over) for plan in plans.values()] == [2, 1]


def each_partition_has_its_own_stream_time_and_expires_its_own(rule: Any) -> None:
    plans = Desk(rule).plans({3: [], 8: []}, {8: [settled("x")]})
    assert [plan.stream_time for plan in plans.values()] == [NOW + 3, NOW + 8]
    assert [plan.tombstones for plan in plans.values()] == [[], [settled("x")]]


def a_breaker_cuts_the_batch_and_its_events_alike(rule: Any) -> None:
    batches = {3: records(0, 0, 0, 200), 8: records(200, 0)}
    decoded = Desk(rule).decode(batches)
    assert decoded == {3: [BAD, BAD], 8: [event(200), BAD]}
    assert [len(batch) for batch in batches.values()] == [2, 2]


def an_open_breaker_lets_no_more_be_decoded(rule: Any) -> None:
    desk = Desk(rule)
    desk.decode({3: records(0, 0)})
    desk.partitions[3].throttle.committed(1_000.0)
    batches = {3: records(200), 8: records(200)}
    assert desk.decode(batches) == {3: [], 8: [event(200)]}
    assert batches[3] == []


def what_is_older_than_the_retention_expires(rule: Any) -> None:
    desk, at = Desk(rule), NOW - RULES.retention_ms
    desk.partitions[9] = restoring(9, RULES)  # restored, so its store is not open yet
    for number in (3, 8):
        old = [settled(f"{age}", at=at + number - age) for age in (0, 1, 2)]
        desk.store.load(number, [(state.message_id, state) for state in old], 1)
    found = rule.Expiry(desk.store, RULES, 10, 60.0).due(desk.partitions, 1_000.0)
    assert {number: [state.message_id for state in states] for number, states in found.items()} == {
        3: ["2", "1"],
        8: ["2", "1"],
    }
    found = rule.Expiry(desk.store, RULES, 1, 60.0).due(desk.partitions, 1_000.0)
    assert [len(states) for states in found.values()] == [1, 1]


def what_may_expire_is_looked_for_once_an_interval(rule: Any) -> None:
    desk = Desk(rule)
    desk.store.load(3, [("o", settled("o", at=NOW - 2 * RULES.retention_ms))], 1)
    expiry = rule.Expiry(desk.store, RULES, 10, 60.0)
    looked = [bool(expiry.due(desk.partitions, now_s)) for now_s in (5.0, 64.9, 65.0, 66.0, 125.0)]
    assert looked == [True, False, True, False, True]


SCENARIOS: Final[dict[str, Callable[[Any], None]]] = {
    scenario.__name__: scenario
    for scenario in (
        a_batch_settles_its_own_messages,
        a_flush_settles_all,
        a_message_goes_on_from_its_state,
        the_writers_room_is_there_once,
        each_partition_has_its_own_stream_time_and_expires_its_own,
        a_breaker_cuts_the_batch_and_its_events_alike,
        an_open_breaker_lets_no_more_be_decoded,
        what_is_older_than_the_retention_expires,
        what_may_expire_is_looked_for_once_an_interval,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_planner(name: str) -> None:
    SCENARIOS[name](right)


MUTANTS: Final = [
    Mutant("each batch settles all", "None if flush else ids", "None",
           "a_batch_settles_its_own_messages"),
    Mutant("a flush settles the batch's messages alone", "None if flush else ids", "ids",
           "a_flush_settles_all"),
    Mutant("the states of what is settled are not read",
           "ids.update([settlement.message_id for settlement in settlements])", "pass",
           "a_flush_settles_all"),
    Mutant("no states are read", "self._store.get_many(number, ids) if ids else {}", "{}",
           "a_message_goes_on_from_its_state"),
    Mutant("each partition has all the room", "room -= len(plans[number].hand_over)", "pass",
           "the_writers_room_is_there_once"),
    Mutant("stream time begins anew", "stream_time=partition.position.stream_time", "stream_time=0",
           "each_partition_has_its_own_stream_time_and_expires_its_own"),
    Mutant("nothing expires", "expiring.get(number, ())", "()",
           "each_partition_has_its_own_stream_time_and_expires_its_own"),
    Mutant("every partition expires all", "expiring.get(number, ())",
           "[state for states in expiring.values() for state in states]",
           "each_partition_has_its_own_stream_time_and_expires_its_own"),
    Mutant("an open breaker lets all be decoded", ".throttle.admit(batch, now_s)", "",
           "an_open_breaker_lets_no_more_be_decoded"),
    Mutant("no breaker opens", ".throttle.judge(batches[number], events)", "",
           "a_breaker_cuts_the_batch_and_its_events_alike"),
    Mutant("what is new expires", "stream_time - self._rules.retention_ms", "stream_time",
           "what_is_older_than_the_retention_expires"),
    Mutant("everything expires at once", "horizon, self._most_records", "horizon, 10**9",
           "what_is_older_than_the_retention_expires"),
    Mutant("expires while it is restored", "in assignment.running():", "in assignment.values():",
           "what_is_older_than_the_retention_expires"),
    Mutant("looked for all the time", "if now_s < self._next_s:", "if False:",
           "what_may_expire_is_looked_for_once_an_interval"),
    Mutant("looked for a moment late", "if now_s < self._next_s:", "if now_s <= self._next_s:",
           "what_may_expire_is_looked_for_once_an_interval"),
    Mutant("looked for once", "now_s + self._interval_s", 'float("inf")',
           "what_may_expire_is_looked_for_once_an_interval"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_scenario(wrong: Mutant) -> None:
    rule = wrong.of(right)
    with pytest.raises((AssertionError, LookupError)):
        SCENARIOS[wrong.row](rule)

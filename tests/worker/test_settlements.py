"""Rows in flight and settlements to be published, of one partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from processor.core.events import Change, MessageState, Outcome, Settlement
from processor.core.settle import Park, Reject, Retry, Settled, Stop, Unknown, Verdict
from processor.ports import Result
from processor.worker import settlements as right
from tests.support.mutants import Mutant
from tests.support.rules import RULES
from tests.support.states import NOW, state


class Partition:
    """Its settlements, by the right rules or by wrong ones. Time goes on by 1 ms a step."""

    def __init__(self, rule: Any) -> None:
        self.settlements = rule.Settlements(RULES)
        self.now = NOW
        self.again = False

    def hand_over(self, message_id: str, version: int = 1, doubt_at: int = 0) -> bool:
        row = replace(state(message_id, version=version), doubt_at=doubt_at)
        verify, self.again = self.settlements.hand_over(row, self.now)
        return bool(verify)

    def take(self, verdict: Verdict, message_id: str = "m", version: int = 1) -> Any:
        self.now += 1
        return self.settlements.take(Result(message_id, 0, version, verdict), self.now)

    def waiting(self, *ids: str) -> list[str]:
        """The messages of the settlements that wait: of these, or of all."""
        found = self.settlements.of(set(ids) if ids else None)
        return sorted(settlement.message_id for settlement in found)

    def publish(self, *ids: str) -> None:
        self.settlements.published(self.settlements.of(set(ids)))


def what_is_confirmed_waits_to_be_published(partition: Partition) -> None:
    partition.hand_over("m", version=3)
    assert partition.take(Settled(), version=3) is None
    assert partition.settlements.of(None) == [Settlement("m", 3, 200, NOW + 1, Outcome.WRITTEN)]
    assert len(partition.settlements) == 1
    assert not partition.settlements.urgent
    partition.publish("m")
    assert partition.waiting() == []
    assert not partition.settlements
    assert partition.settlements.oldest_at is None


def those_of_a_batch_are_told_from_the_others(partition: Partition) -> None:
    for message_id in ("l", "m", "n"):
        partition.hand_over(message_id)
        partition.take(Settled(), message_id)
    assert partition.waiting("m", "x") == ["m"]
    assert partition.waiting() == ["l", "m", "n"]
    partition.publish("m", "x")
    assert partition.waiting() == ["l", "n"]


def the_first_to_wait_dates_the_others(partition: Partition) -> None:
    for message_id in ("m", "n"):
        partition.hand_over(message_id)
        partition.take(Settled(), message_id)
    assert partition.settlements.oldest_at == NOW + 1
    partition.publish("n")
    assert partition.settlements.oldest_at == NOW + 1
    partition.publish("m")
    partition.hand_over("m", version=2)
    partition.take(Settled(), version=2)
    assert partition.settlements.oldest_at == NOW + 3


def what_is_refused_is_urgent_until_it_is_published(partition: Partition) -> None:
    for message_id, verdict in (("m", Reject("FIELD")), ("n", Settled())):
        partition.hand_over(message_id)
        partition.take(verdict, message_id)
    assert partition.settlements.urgent
    partition.publish("m", "n")
    assert not partition.settlements.urgent


def what_a_newer_version_waits_for_is_urgent_once(partition: Partition) -> None:
    partition.hand_over("m")
    partition.settlements.superseded(["m"])
    partition.take(Settled())
    assert partition.settlements.urgent
    partition.publish("m")
    partition.hand_over("m", version=2)
    partition.take(Settled(), version=2)
    assert not partition.settlements.urgent


def what_was_put_off_is_urgent_no_more(partition: Partition) -> None:
    partition.hand_over("m")
    partition.settlements.superseded(["m"])
    partition.take(Retry(1, "LOCK"))
    partition.hand_over("m", version=2)
    partition.take(Settled(), version=2)
    assert not partition.settlements.urgent


def what_was_settled_already_is_not_superseded(partition: Partition) -> None:
    partition.hand_over("m")
    partition.take(Settled())
    partition.settlements.superseded(["m"])
    partition.publish("m")
    partition.hand_over("m", version=2)
    partition.take(Settled(), version=2)
    assert not partition.settlements.urgent


def a_row_that_is_put_off_waits_for_nothing_and_is_out_of_hand(partition: Partition) -> None:
    partition.hand_over("m")
    assert partition.take(Unknown("timeout")) is not None
    assert partition.take(Settled()) is None
    assert partition.waiting() == []


def a_settled_row_is_out_of_hand(partition: Partition) -> None:
    partition.hand_over("m")
    partition.take(Settled())
    assert partition.take(Retry(1, "LOCK")) is None
    assert partition.waiting() == ["m"]


def a_result_of_a_row_that_is_not_in_hand_is_nothing(partition: Partition) -> None:
    assert partition.take(Settled()) is None
    assert partition.take(Retry(1, "LOCK")) is None
    assert partition.waiting() == []


def a_result_of_another_version_leaves_the_row_in_hand(partition: Partition) -> None:
    partition.hand_over("m", version=2)
    assert partition.take(Settled(), version=1) is None
    assert partition.take(Retry(1, "LOCK"), version=1) is None
    assert partition.waiting() == []
    partition.take(Settled(), version=2)
    assert partition.waiting() == ["m"]


def a_doubt_that_is_old_enough_is_ended_by_reading_back(partition: Partition) -> None:
    assert not partition.hand_over("l", doubt_at=NOW - RULES.unknown_after_ms + 1)
    assert partition.take(Settled(), "l") is not None
    assert partition.hand_over("m", doubt_at=NOW - RULES.unknown_after_ms)
    assert partition.take(Settled(), "m") is None
    assert partition.waiting() == ["m"]


def a_row_that_failed_is_known_until_it_is_settled(partition: Partition) -> None:
    for verdict, again in ((Retry(1, "LOCK"), False), (Retry(1, "FLOW"), True), (Settled(), True),
                           (Park(1, "NOT_FOUND"), False), (Settled(), False)):  # fmt: skip
        partition.hand_over("m")
        assert partition.again is again
        partition.take(verdict)


def a_paused_org_is_no_failure_of_a_row(partition: Partition) -> None:
    for verdict in (Retry(1, "ORG_PAUSED", whole_org=True), Unknown("timeout"), Stop("grant it")):
        partition.hand_over("m")
        partition.take(verdict)
    partition.hand_over("m")
    assert not partition.again


def a_row_that_fails_again_waits_longer(partition: Partition) -> None:
    for tried_s in (0, 100, 300):
        partition.now = NOW + 1000 * tried_s
        partition.hand_over("m")
        deferral = partition.take(Retry(1, "LOCK"))
        assert 0 <= deferral.due_at - partition.now - max(1000, 1000 * tried_s) < 60_000


def a_newer_version_begins_anew(partition: Partition) -> None:
    partition.hand_over("m")
    partition.take(Retry(1, "LOCK"))
    partition.hand_over("m", version=2)
    assert not partition.again


def rows_are_put_off_as_they_are_kept_now(partition: Partition) -> None:
    for message_id in ("gone", "m"):
        partition.hand_over(message_id)
    deferrals = [partition.take(Unknown("timeout"), message_id) for message_id in ("gone", "m")]
    kept: MessageState = replace(state("m"), task_id="00T9")
    assert partition.settlements.postpone(deferrals, {"m": kept}, NOW) == [
        Change(kept, replace(kept, due_at=NOW + 2, doubt_at=NOW + 2))
    ]


SCENARIOS: Final[dict[str, Callable[[Partition], None]]] = {
    scenario.__name__: scenario
    for scenario in (
        what_is_confirmed_waits_to_be_published,
        those_of_a_batch_are_told_from_the_others,
        the_first_to_wait_dates_the_others,
        what_is_refused_is_urgent_until_it_is_published,
        what_a_newer_version_waits_for_is_urgent_once,
        what_was_put_off_is_urgent_no_more,
        what_was_settled_already_is_not_superseded,
        a_row_that_is_put_off_waits_for_nothing_and_is_out_of_hand,
        a_settled_row_is_out_of_hand,
        a_result_of_a_row_that_is_not_in_hand_is_nothing,
        a_result_of_another_version_leaves_the_row_in_hand,
        a_doubt_that_is_old_enough_is_ended_by_reading_back,
        a_row_that_failed_is_known_until_it_is_settled,
        a_paused_org_is_no_failure_of_a_row,
        a_row_that_fails_again_waits_longer,
        a_newer_version_begins_anew,
        rows_are_put_off_as_they_are_kept_now,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_settlements_of_a_partition(name: str) -> None:
    SCENARIOS[name](Partition(right))


TAKEN: Final = "if held is None or held.state.version != result.version:"
FAILED: Final = "if is_of_the_row(result.verdict):"
SUPERSEDED: Final = "superseded=message_id in self._superseded"

MUTANTS: Final = [
    Mutant("every version is the one in flight", TAKEN, "if held is None:",
           "a_result_of_another_version_leaves_the_row_in_hand"),
    Mutant("a settled row stays in flight", "del self._in_flight[result.message_id]", "pass",
           "a_settled_row_is_out_of_hand"),
    Mutant("all is read back", "verified=held.verified", "verified=True",
           "a_doubt_that_is_old_enough_is_ended_by_reading_back"),
    Mutant("nothing is read back", "verified=held.verified", "verified=False",
           "a_doubt_that_is_old_enough_is_ended_by_reading_back"),
    Mutant("nothing is superseded", SUPERSEDED, "superseded=False",
           "what_a_newer_version_waits_for_is_urgent_once"),
    Mutant("superseded once, superseded for ever", "self._superseded.discard(message_id)", "pass",
           "what_a_newer_version_waits_for_is_urgent_once"),
    Mutant("put off, and superseded for ever", "self._superseded.discard(result.message_id)",
           "pass", "what_was_put_off_is_urgent_no_more"),
    Mutant("settled already, and superseded", "message_id in self._in_flight)", "True)",
           "what_was_settled_already_is_not_superseded"),
    Mutant("the last to wait dates the others", "if self.oldest_at is None:", "if True:",
           "the_first_to_wait_dates_the_others"),
    Mutant("urgent for ever", "self.oldest_at, self.urgent = None, False", "self.oldest_at = None",
           "what_is_refused_is_urgent_until_it_is_published"),
    Mutant("the wait never ends", "self.oldest_at, self.urgent = None, False",
           "self.urgent = False", "the_first_to_wait_dates_the_others"),
    Mutant("one published and all are calm", "if not self._waiting:", "if True:",
           "the_first_to_wait_dates_the_others"),
    Mutant("a batch settles all messages", "waiting.keys() & ids", "waiting.keys()",
           "those_of_a_batch_are_told_from_the_others"),
    Mutant("a batch settles all others", "waiting.keys() & ids", "waiting.keys() - ids",
           "those_of_a_batch_are_told_from_the_others"),
    Mutant("nothing has failed before", FAILED, "if False:",
           "a_row_that_failed_is_known_until_it_is_settled"),
    Mutant("what the org was paused for has failed", FAILED, "if True:",
           "a_paused_org_is_no_failure_of_a_row"),
    Mutant("the last try counts for the first", "result.version, held.tried_since",
           "result.version, now", "a_row_that_fails_again_waits_longer"),
    Mutant("a missing Task goes apart", "not isinstance(result.verdict, Park)", "True",
           "a_row_that_failed_is_known_until_it_is_settled"),
    Mutant("a newer version has failed already", "failed.version != state.version", "False",
           "a_newer_version_begins_anew"),
    Mutant("settled, and failed still", "self._failed.pop(result.message_id, None)", "pass",
           "a_row_that_failed_is_known_until_it_is_settled"),
    Mutant("published, and waiting still", "self._waiting.pop(settlement.message_id, None)",
           "pass", "what_is_confirmed_waits_to_be_published"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_scenario(wrong: Mutant) -> None:
    partition = Partition(wrong.of(right))
    with pytest.raises(AssertionError):
        SCENARIOS[wrong.row](partition)

"""What a batch comes to: by laws over any stream and split, and by the cases that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.collapse import merge, resolve
from processor.core.due import Rules, must_verify, reclaim
from processor.core.events import IN_FLIGHT, DeliveryEvent, MessageState, Outcome, Settlement
from processor.core.plan import Plan, plan
from processor.errors import Rejection
from tests.support.rules import RULES
from tests.support.states import after

NOW = 1_700_000_000_000
DAY = 86_400_000
TASK = "00T000000000001AAA"


def event(
    code: int, at: int, *, message: str = "m", task: str | None = TASK, account: str | None = "a"
) -> DeliveryEvent:
    return DeliveryEvent(message, code, at, at, task, account)


class Partition:
    """A partition's states, as the store keeps them from batch to batch."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.states: dict[str, MessageState] = {}
        self.stream_time = 0

    def take(
        self,
        events: Sequence[DeliveryEvent | Rejection],
        *settlements: Settlement,
        now: int = NOW,
        room: int = 0,
        expired: Sequence[MessageState] = (),
    ) -> Plan:
        result = plan(
            list(events),
            self.states,
            settlements,
            rules=self.rules,
            now=now,
            stream_time=self.stream_time,
            expired=expired,
            room=room,
        )
        self.stream_time = result.stream_time
        self.states.update((key, after(result, key)) for key in result.changes)
        for gone in result.tombstones:
            del self.states[gone.message_id]
        return result

    def settle(self, version: int, code: int, outcome: Outcome = Outcome.WRITTEN) -> Plan:
        return self.take([], Settlement("m", version, code, NOW, outcome, "WHY"))


EVENTS = st.builds(
    DeliveryEvent,
    st.sampled_from(["m", "n"]),
    st.sampled_from([101, 102, 151, 200, 211, 220, 221, 222, 301, 330, 399, 401, 402]),
    st.integers(NOW, NOW + 6),
    st.just(NOW + 6),
    st.sampled_from([TASK, "00T000000000002AAA"]),
    st.sampled_from([None, "a", "b"]),
)


@given(st.lists(EVENTS, min_size=1, max_size=12), st.data())
def test_order_duplicates_and_splits_change_nothing(
    events: list[DeliveryEvent], data: st.DataObject
) -> None:
    whole: dict[str, dict[int, int]] = {}
    for one in events:
        whole[one.message_id] = merge(whole.get(one.message_id, {}), {one.code: one.event_time})
    again = data.draw(st.lists(st.sampled_from(events), max_size=6))
    stream = data.draw(st.permutations(events + again))
    cut = data.draw(st.integers(0, len(stream)))

    at_once, in_parts, one_by_one = Partition(), Partition(), Partition()
    at_once.take(events)
    in_parts.take(stream[:cut])
    in_parts.take(stream[cut:])
    for one in stream:
        one_by_one.take([one])

    for partition in (at_once, in_parts, one_by_one):
        assert {k: s.history for k, s in partition.states.items()} == whole
        assert {k: s.code for k, s in partition.states.items()} == {
            key: resolve(history) for key, history in whole.items()
        }
    registers = [
        {k: (s.task_id, s.task_at, s.account_id) for k, s in partition.states.items()}
        for partition in (at_once, in_parts, one_by_one)
    ]
    assert registers[0] == registers[1] == registers[2]


@given(st.lists(EVENTS, min_size=1, max_size=12))
def test_every_event_is_accounted_for_once(events: list[DeliveryEvent]) -> None:
    result = Partition().take(events)
    assert sum(result.counts.values()) == len(events)
    assert all(code in CODES for code, _ in result.counts)


@given(st.lists(EVENTS, min_size=1, max_size=12))
def test_the_version_grows_with_each_change_of_what_salesforce_is_given(
    events: list[DeliveryEvent],
) -> None:
    partition = Partition()
    for one in events:
        before = partition.states.get(one.message_id)
        partition.take([one])
        after = partition.states[one.message_id]
        if before is not None:
            changed = (before.code, before.task_id) != (after.code, after.task_id)
            assert after.version == before.version + changed


def test_a_status_is_owed_until_its_version_is_settled() -> None:
    partition = Partition()
    partition.take([event(200, NOW)])
    before = partition.states["m"]
    partition.settle(1, 200)
    after = partition.states["m"]
    assert (before.owed, after.owed, after.due_at) == (True, False, 0)


def test_200_settled_402_unanswered_then_a_late_102_is_still_owed() -> None:
    # Equal codes are not equal versions: the Task may hold 402.
    partition = Partition()
    partition.take([event(200, NOW + 3)])
    partition.settle(1, 200)
    partition.take([event(402, NOW + 1)])
    partition.take([event(102, NOW + 2)])
    state = partition.states["m"]
    assert (state.code, state.settled_code, state.version) == (200, 200, 3)
    assert state.owed


def test_a_settlement_of_an_older_version_leaves_the_newer_one_owed_and_due() -> None:
    partition = Partition()
    partition.take([event(200, NOW)])
    partition.states["m"] = replace(partition.states["m"], due_at=IN_FLIGHT)
    result = partition.take([event(220, NOW + 1)])
    assert result.superseding == ["m"]
    assert partition.states["m"].due_at == IN_FLIGHT
    partition.settle(1, 200)
    state = partition.states["m"]
    assert (state.owed, state.settled_version, state.due_at) == (True, 1, NOW)


def test_a_settlement_older_than_what_is_settled_or_of_nothing_known_is_dropped() -> None:
    partition = Partition()
    partition.take([event(220, NOW)])
    partition.settle(1, 220)
    for result in (partition.settle(1, 220), Partition().settle(1, 220)):
        assert not result.changes
        assert len(result.considered) == 1  # and is not offered again


def test_a_settlement_rides_with_the_messages_next_status() -> None:
    partition = Partition()
    partition.take([event(200, NOW)])
    result = partition.take([event(210, NOW + 1)], Settlement("m", 1, 200, NOW, Outcome.WRITTEN))
    assert len(result.changes) == 1
    assert (partition.states["m"].settled_version, partition.states["m"].version) == (1, 2)


def test_a_refused_row_is_settled_and_told() -> None:
    partition = Partition()
    partition.take([event(220, NOW)])
    result = partition.settle(1, 220, Outcome.REJECTED)
    assert [(state.code, s.reason) for state, s in result.refused] == [(220, "WHY")]
    assert not partition.states["m"].owed


def test_an_event_that_tells_nothing_new_publishes_nothing() -> None:
    partition = Partition()
    partition.take([event(220, NOW + 1)])
    result = partition.take([event(220, NOW + 1), event(220, NOW)])
    assert not result.changes
    assert result.counts == {(220, "duplicate"): 2}


def test_an_older_event_can_still_bring_an_account() -> None:
    partition = Partition()
    partition.take([event(220, NOW + 1, account=None)])
    result = partition.take([event(220, NOW, account="b")])
    assert after(result, "m").account_id == "b"
    assert after(result, "m").version == 1


def test_of_two_accounts_at_one_time_the_greater_is_kept_even_if_it_comes_twice() -> None:
    partition = Partition()
    partition.take([event(220, NOW, account="a")])
    partition.take([event(220, NOW, account="b")])
    assert partition.states["m"].account_id == "b"


def test_a_row_that_is_due_is_not_handed_over_where_it_was_settled_in_the_same_batch() -> None:
    partition = Partition()
    partition.take([event(220, NOW, account=None)])
    settled = Settlement("m", 1, 220, NOW, Outcome.WRITTEN)
    result = partition.take([event(220, NOW, account="b")], settled, room=9)
    assert (result.hand_over, partition.states["m"].owed) == ([], False)


def test_a_known_value_is_never_blanked_and_a_later_one_wins_in_any_order() -> None:
    any_message = replace(RULES, require_task=False)
    one, other = Partition(any_message), Partition(any_message)
    stream = [
        event(101, NOW, task=None),
        event(200, NOW + 1, task="A"),
        event(210, NOW + 2, task="B"),
        event(211, NOW + 3, task="A"),
        event(220, NOW + 4, task=None),
    ]
    for item in stream:
        one.take([item])
    for item in reversed(stream):
        other.take([item])
    assert one.states["m"].task_id == other.states["m"].task_id == "A"


def test_events_without_a_task_are_ignored_and_not_kept() -> None:
    partition = Partition()
    result = partition.take([event(220, NOW, task=None)])
    assert not partition.states
    assert result.counts == {(220, "ignored"): 1}


def test_a_rejected_record_disturbs_nothing_around_it() -> None:
    partition = Partition()
    bad = Rejection("bad_code")
    result = partition.take([event(101, NOW), bad, event(220, NOW + 1)])
    assert result.rejected == [(1, bad)]
    assert partition.states["m"].code == 220


def test_holds_by_kind_of_status() -> None:
    holds = {code: RULES.hold_ms(code) for code in (101, 200, 220, 221, 301, 330, 332, 399, 402)}
    assert holds == {
        101: 10_000,
        200: 10_000,
        220: 0,
        221: 0,
        301: 0,
        330: 15_000,
        332: 15_000,
        399: 0,
        402: 15_000,
    }


def test_an_intermediate_status_never_postpones_a_row_that_is_owed() -> None:
    partition = Partition()
    partition.take([event(101, NOW)])
    partition.take([event(200, NOW + 1)], now=NOW + 9_000)
    assert partition.states["m"].due_at == NOW + 10_000


def test_a_failure_is_always_held_in_full() -> None:
    partition = Partition()
    partition.take([event(101, NOW)])
    partition.take([event(402, NOW + 1)], now=NOW + 9_000)
    assert partition.states["m"].due_at == NOW + 24_000


def test_rows_due_at_once_go_to_the_writer_as_far_as_it_has_room() -> None:
    partition = Partition()
    batch = [event(220, NOW, message=str(n)) for n in range(3)] + [event(200, NOW, message="x")]
    result = partition.take(batch, room=2)
    assert [state.message_id for state in result.hand_over] == ["0", "1"]
    assert {k: s.due_at for k, s in partition.states.items()} == {
        "0": IN_FLIGHT,
        "1": IN_FLIGHT,
        "2": NOW,
        "x": NOW + 10_000,
    }


def test_rows_that_are_not_due_wait_however_much_room_there_is() -> None:
    partition = Partition()
    result = partition.take([event(200, NOW), event(220, NOW, message="n")], room=9)
    assert [state.message_id for state in result.hand_over] == ["n"]


def test_too_late_is_measured_in_stream_time_and_only_without_a_state() -> None:
    partition = Partition()
    partition.take([event(220, NOW)])
    old = NOW - RULES.retention_ms - 1
    result = partition.take([event(402, old, message="gone"), event(402, old)])
    assert [(index, why.reason) for index, why in result.too_late] == [(0, "too_late")]
    assert partition.states["m"].history == {220: NOW, 402: old}


def test_an_old_backlog_read_for_the_first_time_is_not_too_late() -> None:
    result = Partition().take([event(220, NOW - 300 * DAY), event(101, NOW - 299 * DAY)])
    assert not result.too_late


def test_stream_time_never_passes_the_clock() -> None:
    partition = Partition()
    partition.take([event(220, NOW + 3_000 * DAY)])
    assert partition.stream_time == NOW


def test_expired_states_are_tombstoned_unless_owed_or_touched() -> None:
    partition = Partition()
    partition.take([event(220, NOW, message=m) for m in ("settled", "owed", "touched")])
    for message in ("settled", "touched"):
        partition.take([], Settlement(message, 1, 220, NOW, Outcome.WRITTEN))
    result = partition.take(
        [event(221, NOW + 1, message="touched")], expired=list(partition.states.values())
    )
    assert [state.message_id for state in result.tombstones] == ["settled"]
    assert partition.states.keys() == {"owed", "touched"}


def test_oddities_are_counted_once_per_message() -> None:
    partition = Partition()
    conflict = [partition.take([event(c, t)]).conflicts for c, t in ((220, 1), (401, 2), (400, 3))]
    assert conflict == [0, 1, 0]
    assert partition.take([event(402, 9)]).counts == {(402, "conflict"): 1}
    hidden = Partition()
    seen = [hidden.take([event(c, t)]).hidden for c, t in ((402, 1), (200, 2), (210, 3))]
    assert seen == [0, 1, 0]
    same = Partition()
    stamps = [same.take([event(c, 5)]).same_stamps for c in (101, 200, 220, 221)]
    assert stamps == [0, 0, 1, 0]


def test_a_reclaimed_row_is_in_doubt_and_is_read_back_when_the_doubt_is_old() -> None:
    partition = Partition()
    partition.take([event(220, NOW)])
    state = reclaim(partition.states["m"], NOW, RULES)
    assert not must_verify(state, NOW + 659_999, RULES)
    assert must_verify(state, NOW + 660_000, RULES)
    assert not must_verify(partition.states["m"], NOW + 660_000, RULES)

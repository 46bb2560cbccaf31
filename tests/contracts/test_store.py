"""What every store has to do: one suite for LMDB and for the fakes, and two side by side."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from processor.core.events import IN_FLIGHT, Change, MessageState
from processor.errors import StoreFailed
from processor.ports import OwedCount, Store
from processor.store.store import LmdbStore
from tests.simulation.group import Group
from tests.simulation.machine import Machine
from tests.simulation.store import Disk, SimStore
from tests.simulation.world import World
from tests.support.memory_store import MemoryStore
from tests.support.states import HOUR, NOW, SMALL_TIMES, any_state, settled, state

ORG = "default"


class StoppedClock:
    def __init__(self, now_ms: int = NOW) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000


def by_prefix(account: str | None) -> str:
    return "other" if account is not None and account.startswith("o") else ORG


def lmdb_store(directory: Path, map_bytes: int = 1 << 20) -> LmdbStore:
    return LmdbStore(
        directory,
        "cluster/topic",
        clock=StoppedClock(),
        delete_retention_ms=24 * HOUR,
        org_of=by_prefix,
        map_bytes=map_bytes,
    )


def simulated_store() -> SimStore:
    """In fair weather."""
    world = World(1, {}, None)
    world.calm = True
    return SimStore(Machine(world, Group(world, 1), "A", "A1"), Disk(), by_prefix)


@pytest.fixture(params=["memory", "simulated", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = lmdb_store(tmp_path)
    if request.param != "lmdb":
        made = MemoryStore(by_prefix) if request.param == "memory" else simulated_store()
    for partition in range(3):
        assert made.open(partition) is None
    yield made
    for partition in range(3):
        made.close(partition)


def put(store: Store, *states: MessageState, partition: int = 0) -> None:
    store.put_many(partition, [Change(None, new) for new in states])


def ids(rows: list[tuple[int, MessageState]]) -> list[str]:
    return [row.message_id for _, row in rows]


# -- states and checkpoint -------------------------------------------------------------------


def test_a_state_comes_back_as_it_was_put(store: Store) -> None:
    put(store, state("m1"), settled("m2"))
    assert store.get_many(0, ["m2", "m1", "m3"]) == {"m1": state("m1"), "m2": settled("m2")}
    assert store.get_many(1, ["m1"]) == {}
    assert store.get_many(0, []) == {}


def test_a_message_id_may_be_any_text_of_up_to_255_bytes(store: Store) -> None:
    names = ["é" * 127, "x" * 255, "\0", "m\xff", "日本", "\U0001f4a9", " "]
    put(store, *(state(name, due=5) for name in names))
    assert store.get_many(0, names) == {name: state(name, due=5) for name in names}
    assert sorted(ids(store.due(ORG, 5, 100))) == sorted(names)


def test_a_dropped_state_is_gone_from_everywhere(store: Store) -> None:
    put(store, state("owed"), settled("done", at=1))
    store.put_many(0, [Change(state("owed"), None), Change(settled("done", at=1), None)])
    assert store.get_many(0, ["owed", "done"]) == {}
    assert store.count() == 0
    assert store.owed_count() == OwedCount(0, 0)
    assert store.due(ORG, NOW, 10) == []
    assert store.expired(0, NOW, 10) == []


def test_changes_of_one_message_in_one_batch_follow_one_another(store: Store) -> None:
    steps = [None, state("m", due=1), state("m", due=2, version=2), state("m", due=3, version=3)]
    store.put_many(0, [Change(old, new) for old, new in pairwise(steps)])
    assert store.due(ORG, 5, 10) == [(0, steps[-1])]
    store.put_many(0, [Change(None, state("n")), Change(state("n"), None), Change(None, None)])
    assert store.count() == 1


def test_a_batch_says_how_far_it_comes_and_reopening_knows(store: Store) -> None:
    store.put_many(0, [Change(None, state("m", due=7))], checkpoint=41)
    put(store, state("n"))
    store.close(0)
    assert store.count() == 0
    assert store.open(0) == 41
    assert store.count() == 2
    assert store.owed_count() == OwedCount(0, 2)
    assert store.next_due(ORG) == 0
    assert store.open(1) is None


def test_states_without_a_checkpoint_are_not_believed_when_reopened(store: Store) -> None:
    put(store, state("m"))
    store.close(0)
    assert store.open(0) is None
    assert store.count() == 0


def test_loading_puts_and_drops_whatever_was_there_and_the_last_word_counts(store: Store) -> None:
    put(store, state("kept"), state("changed", due=9), state("dropped"))
    changes = [
        ("changed", state("changed", version=2)),
        ("new", state("new")),
        ("dropped", None),
        ("never there", None),
        ("changed", state("changed", version=2, settled=2)),
        ("changed", state("changed")),  # an old record behind a newer one
        ("new", None),
        ("new", state("new", code=402)),
    ]
    store.load(0, changes, 7)
    changed = state("changed", version=2, settled=2)
    kept = {"kept": state("kept"), "changed": changed, "new": state("new", code=402)}
    assert store.get_many(0, ["kept", "changed", "new", "dropped", "never there"]) == kept
    assert store.owed_count() == OwedCount(final=1, intermediate=1)
    store.close(0)
    assert store.open(0) == 7


def test_the_mark_is_kept_with_the_checkpoint(store: Store) -> None:
    assert store.mark(0) == ""
    store.load(0, [], 1, mark="one")
    put(store, state("m"))  # without a checkpoint: the mark stays
    store.load(0, [("n", state("n"))], 2)
    assert store.mark(0) == "one"
    store.put_many(0, [Change(None, state("o"))], 3, mark="two")
    store.close(0)
    assert store.open(0) == 3
    assert store.mark(0) == "two"
    store.wipe(0)
    assert store.open(0) is None
    assert store.mark(0) == ""


def test_a_wiped_partition_starts_from_nothing_and_others_stay(store: Store) -> None:
    store.put_many(0, [Change(None, state("m"))], checkpoint=1)
    store.put_many(1, [Change(None, state("n"))], checkpoint=2)
    store.wipe(0)
    assert store.count() == 1
    assert store.open(0) is None
    assert store.get_many(0, ["m"]) == {}
    store.wipe(0)
    store.wipe(0)
    assert store.open(0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        Change(None, state("m", due=2)),
        Change(state("m", due=5), state("m", due=6)),
        Change(state("n"), None),
    ],
)
def test_a_state_that_was_not_what_it_was_said_to_be_fails_its_partition(
    store: Store, wrong: Change
) -> None:
    put(store, state("m", due=1), partition=1)
    with pytest.raises(StoreFailed) as caught:
        store.put_many(1, [wrong])
    assert caught.value.partition == 1
    assert store.due(ORG, 9, 9) == [(1, state("m", due=1))]


# -- what is owed ----------------------------------------------------------------------------


def test_due_rows_come_final_first_and_then_by_time(store: Store) -> None:
    put(
        store,
        state("late", due=30),
        state("soon", due=10),
        state("delivered", code=220, due=20),
        state("failed", code=402, due=15),
        settled("settled"),
        state("not yet", code=220, due=101),
        state("in flight", code=220, due=IN_FLIGHT),
    )
    assert ids(store.due(ORG, 100, 10)) == ["failed", "delivered", "soon", "late"]
    assert ids(store.due(ORG, 100, 3)) == ["failed", "delivered", "soon"]
    assert ids(store.due(ORG, 15, 10)) == ["failed", "soon"]
    assert store.due(ORG, 100, 0) == []
    assert "in flight" not in ids(store.due(ORG, 1 << 63, 10))


def test_no_partition_starves_another(store: Store) -> None:
    for partition, first in ((0, 0), (1, 1000), (2, 2000)):
        rows = (state(f"{partition}-{n:02}", code=220, due=first + n) for n in range(20))
        put(store, *rows, partition=partition)
    assert [partition for partition, _ in store.due(ORG, 5000, 9)] == [0] * 3 + [1] * 3 + [2] * 3
    assert len(store.due(ORG, 5000, 100)) == 60
    assert ids(store.due(ORG, 5000, 1)) == ["0-00"]


def test_each_org_has_its_own_queue(store: Store) -> None:
    put(store, state("m", due=5), state("n", due=3, account="o1"), state("k", due=4, account=None))
    assert ids(store.due(ORG, 9, 9)) == ["k", "m"]
    assert ids(store.due("other", 9, 9)) == ["n"]
    assert store.due("ot", 9, 9) == []
    assert (store.next_due(ORG), store.next_due("other"), store.next_due("none")) == (4, 3, None)


def test_a_row_that_moves_to_another_org_leaves_the_first(store: Store) -> None:
    first, second = state("m", due=1), state("m", due=1, account="o1")
    put(store, first)
    store.put_many(0, [Change(first, second)])
    assert (ids(store.due(ORG, 9, 9)), ids(store.due("other", 9, 9))) == ([], ["m"])


def test_the_next_due_time_is_the_earliest_of_any_row_not_in_hand(store: Store) -> None:
    assert store.next_due(ORG) is None
    put(store, state("m", code=220, due=IN_FLIGHT))
    assert store.next_due(ORG) is None
    put(store, state("n", due=50), partition=1)
    put(store, state("k", code=402, due=60), partition=2)
    assert store.next_due(ORG) == 50


def test_rows_in_hand_are_found_again_among_the_owed(store: Store) -> None:
    put(store, state("a", due=IN_FLIGHT), state("b", code=402, due=3), state("c"), settled("d"))
    assert sorted(row.message_id for row in store.owed_rows(0)) == ["a", "b", "c"]
    assert list(store.owed_rows(1)) == []


def test_owed_rows_are_those_of_when_one_asked_whatever_is_written_meanwhile(store: Store) -> None:
    before = [state(f"{n:05}", due=n) for n in range(2500)]
    put(store, *before)
    seen: list[MessageState] = []
    for row in store.owed_rows(0):
        store.put_many(0, [Change(row, replace(row, due_at=9_000 + len(seen)))])
        if len(seen) < 5:
            put(store, state(f"new {len(seen)}", due=9_999))
        seen.append(row)
    assert seen == before
    assert store.count() == 2505


def test_owed_rows_are_counted_by_whether_their_code_is_final(store: Store) -> None:
    put(store, state("a"), state("b", code=402), state("c", code=220, due=IN_FLIGHT), settled("d"))
    put(store, state("e", code=499), partition=1)
    assert store.owed_count() == OwedCount(final=3, intermediate=1)
    store.put_many(0, [Change(state("b", code=402), settled("b", code=402))])
    assert store.owed_count() == OwedCount(final=2, intermediate=1)
    store.close(1)
    assert store.owed_count() == OwedCount(final=1, intermediate=1)


def test_of_the_owed_rows_those_in_doubt_are_counted(store: Store) -> None:
    doubtful = replace(state("a"), doubt_at=5)
    put(store, doubtful, state("b"), replace(state("c", code=220), doubt_at=7))
    assert store.owed_count() == OwedCount(1, 2, in_doubt=2)
    again = replace(doubtful, due_at=IN_FLIGHT)
    store.put_many(
        0, [Change(doubtful, again), Change(state("b"), replace(state("b"), doubt_at=9))]
    )
    assert store.owed_count() == OwedCount(1, 2, in_doubt=3)
    store.put_many(0, [Change(again, replace(again, settled_version=again.version))])
    assert store.owed_count() == OwedCount(1, 1, in_doubt=2)
    store.load(0, [("b", None), ("c", state("c", code=220))], 9)
    assert store.owed_count() == OwedCount(1, 0)


# -- what may expire -------------------------------------------------------------------------


def test_only_what_is_settled_and_old_expires(store: Store) -> None:
    old = NOW - 10 * HOUR
    put(store, settled("old", at=old), state("owed", at=old), settled("young", at=NOW))
    put(store, settled("on the mark", at=old + 1), settled("elsewhere", at=old - HOUR))
    put(store, settled("other partition", at=old), partition=1)
    found = [row.message_id for row in store.expired(0, old + 1, 10)]
    assert sorted(found) == ["elsewhere", "old"]
    assert len(store.expired(0, old + 1, 1)) == 1


def test_the_age_of_a_message_is_that_of_its_latest_event_of_any_code(store: Store) -> None:
    old = settled("m", at=NOW - 10 * HOUR)
    put(store, old)
    touched = replace(old, history={**old.history, 200: NOW})
    store.put_many(0, [Change(old, touched)])
    assert store.expired(0, NOW - HOUR, 10) == []
    assert store.expired(0, NOW + 1, 10) == [touched]


def test_what_was_found_but_not_dropped_is_found_again(store: Store) -> None:
    put(store, *(settled(f"{n}", at=n) for n in range(5)))
    assert store.expired(0, NOW, 3) == store.expired(0, NOW, 3)


# -- side by side ----------------------------------------------------------------------------

IDS = st.sampled_from([f"m{n}" for n in range(8)])
PARTITIONS = st.integers(0, 1)


class SideBySide(RuleBasedStateMachine):
    """Any operations in any order: LMDB answers as the dict does."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.lmdb = lmdb_store(self.directory, map_bytes=1 << 18)
        self.memory = MemoryStore(by_prefix)
        self.both(lambda store: [store.open(0), store.open(1)])

    def both(self, ask: Callable[[Store], object]) -> None:
        assert ask(self.lmdb) == ask(self.memory)

    @rule(
        partition=PARTITIONS,
        news=st.lists(any_state(IDS), max_size=6),
        offset=st.none() | st.integers(0, 99),
    )
    def put(self, partition: int, news: list[MessageState], offset: int | None) -> None:
        known = self.memory.get_many(partition, [new.message_id for new in news])
        changes = []
        for new in news:
            changes.append(Change(known.get(new.message_id), new))
            known[new.message_id] = new
        self.both(lambda store: store.put_many(partition, changes, offset))

    @rule(partition=PARTITIONS, gone=st.sets(IDS, max_size=3))
    def drop(self, partition: int, gone: set[str]) -> None:
        known = self.memory.get_many(partition, gone)
        changes = [Change(old, None) for old in known.values()]
        self.both(lambda store: store.put_many(partition, changes))

    @rule(partition=PARTITIONS, news=st.lists(any_state(IDS), max_size=6), gone=st.sets(IDS))
    def load(self, partition: int, news: list[MessageState], gone: set[str]) -> None:
        changes = [(new.message_id, new) for new in news] + [(i, None) for i in sorted(gone)]
        self.both(lambda store: store.load(partition, changes, 5))

    @rule(partition=PARTITIONS)
    def reopen(self, partition: int) -> None:
        self.lmdb.close(partition)
        self.memory.close(partition)
        self.both(lambda store: store.open(partition))

    @rule(partition=PARTITIONS)
    def wipe(self, partition: int) -> None:
        self.lmdb.wipe(partition)
        self.memory.wipe(partition)
        self.both(lambda store: store.open(partition))

    @rule(
        org=st.sampled_from([ORG, "other"]), now=st.integers(NOW, NOW + 60), limit=st.integers(0, 9)
    )
    def due(self, org: str, now: int, limit: int) -> None:
        self.both(lambda store: store.due(org, now, limit))

    @rule(partition=PARTITIONS, before=SMALL_TIMES, limit=st.integers(1, 9))
    def expire(self, partition: int, before: int, limit: int) -> None:
        all_of_them = self.memory.expired(partition, before, 99)
        found = self.lmdb.expired(partition, before, limit)
        assert len(found) == min(limit, len(all_of_them))
        assert all(row in all_of_them for row in found)

    @invariant()
    def agree(self) -> None:
        self.both(lambda store: store.count())
        self.both(lambda store: store.owed_count())
        for partition in (0, 1):
            self.both(lambda store: sorted(store.owed_rows(partition), key=lambda s: s.message_id))  # noqa: B023
            self.both(lambda store: store.get_many(partition, [f"m{n}" for n in range(8)]))  # noqa: B023
        for org in (ORG, "other"):
            self.both(lambda store: store.next_due(org))  # noqa: B023

    def teardown(self) -> None:
        if hasattr(self, "lmdb"):
            self.lmdb.close(0)
            self.lmdb.close(1)
            shutil.rmtree(self.directory)


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(max_examples=40, stateful_step_count=30)

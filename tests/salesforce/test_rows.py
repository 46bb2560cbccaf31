"""The rows that the writer holds: one at a time per Task, in order, none lost and none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from processor.core.settle import Reject, Settled, Unknown, Verdict
from processor.ports import Owed
from processor.salesforce.rows import Batch, Entry, Kind, RowQueue

SETTLED = Settled()
TASKS = ["T1", "T2", "T3"]
PARTITIONS = [0, 1]


def owed(
    version: int, task: str, partition: int = 0, *, verify: bool = False, again: bool = False
) -> Owed:
    return Owed(f"m-{task}", partition, version, "default", task, {}, verify, again)


def filled(*rows: Owed) -> RowQueue:
    queue = RowQueue()
    for row in rows:
        queue.add(row, row.task_id, 0.0)
    return queue


def take(queue: RowQueue, limit: int = 200, kind: Kind = Kind.WRITE) -> Batch:
    return queue.take(limit, 200, 0, kind)


def finish(
    queue: RowQueue, batch: Batch, verdict: Verdict = SETTLED, done: Sequence[Entry] | None = None
) -> list[int]:
    """Answer the whole batch, or those rows of it; the versions whose verdict is told."""
    told = queue.finish(batch, dict.fromkeys(batch.entries if done is None else done, verdict), 1.0)
    assert {given for _, given in told} <= {verdict}
    return [entry.owed.version for entry, _ in told]


def versions(batch: Batch) -> list[int]:
    return [entry.owed.version for entry in batch.entries]


def test_a_batch_holds_a_task_once_and_the_next_row_waits_for_the_answer() -> None:
    queue = filled(owed(1, "A"), owed(2, "B"))
    first = take(queue)
    queue.add(owed(3, "A"), "A", 0.0)
    assert versions(first) == [1, 2]
    assert queue.ready(Kind.WRITE) == 0
    assert finish(queue, first) == [1, 2]
    assert versions(take(queue)) == [3]
    assert len(queue) == 1


def test_of_the_rows_of_a_task_the_last_is_sent_and_settles_those_before_it() -> None:
    queue = filled(*(owed(n, "A") for n in range(1, 1_001)), owed(1_001, "B"))
    batch = take(queue)
    queue.add(owed(1_002, "A"), "A", 0.0)
    assert versions(batch) == [1_000, 1_001]
    assert finish(queue, batch) == list(range(1, 1_002))
    assert (versions(take(queue)), len(queue)) == ([1_002], 1)


def test_a_row_whose_values_are_refused_leaves_those_before_it_to_be_sent() -> None:
    queue = filled(owed(1, "A"), owed(2, "A"), owed(3, "A"))
    assert finish(queue, take(queue), Reject("STRING_TOO_LONG")) == [3]
    assert finish(queue, take(queue), Unknown("timeout")) == [2]
    assert finish(queue, take(queue), Reject("ENTITY_IS_DELETED")) == [1]
    assert len(queue) == 0


def test_a_task_that_is_gone_takes_one_request_whatever_is_to_be_written_to_it() -> None:
    queue = filled(owed(1, "A"), owed(2, "A"), owed(3, "A"))
    assert finish(queue, take(queue), Reject("ENTITY_IS_DELETED")) == [1, 2, 3]


def test_rows_that_failed_before_go_among_themselves() -> None:
    queue = filled(owed(1, "A"), owed(2, "B", again=True), owed(3, "C"), owed(4, "D", again=True))
    assert versions(take(queue)) == [1, 3]
    again = take(queue, kind=Kind.AGAIN)
    assert versions(again) == [2, 4]
    finish(queue, again, done=[])
    assert queue.take_half(0).kind is Kind.AGAIN


def test_reading_back_waits_for_the_write_before_it_and_the_other_way_round() -> None:
    queue = filled(owed(1, "A", verify=True), owed(2, "A"), owed(3, "A", verify=True))
    read = take(queue, kind=Kind.VERIFY)
    assert (versions(read), queue.ready(Kind.WRITE)) == ([1], 0)
    finish(queue, read)
    write = take(queue)
    assert (versions(write), queue.ready(Kind.VERIFY)) == ([2], 0)
    finish(queue, write)
    assert versions(take(queue, kind=Kind.VERIFY)) == [3]


def test_rows_without_a_verdict_come_back_in_halves_of_one_request_each() -> None:
    queue = filled(*(owed(n, f"T{n}") for n in range(901)))
    batch = take(queue, 901)
    done = batch.entries[:1]
    assert finish(queue, batch, done=done) == [0]
    halves = []
    while queue.has_halves():
        half = queue.take_half(0)
        halves.append(len(half.entries))
        finish(queue, half)
    assert sorted(halves) == [100, 200, 200, 200, 200]
    assert len(queue) == 0


def test_halving_ends_with_single_rows() -> None:
    queue = filled(*(owed(n, f"T{n}") for n in range(5)))
    batch = take(queue)
    finish(queue, batch, done=[])
    alone = []
    while queue.has_halves():
        half = queue.take_half(0)
        if len(half.entries) == 1:
            alone += versions(half)
            finish(queue, half)
        else:
            finish(queue, half, done=[])
    assert sorted(alone) == [0, 1, 2, 3, 4]


def test_withdrawing_takes_all_but_what_is_in_flight_halves_included() -> None:
    queue = filled(owed(1, "A"), owed(3, "B"), owed(4, "C", 1))
    batch = take(queue, 2)
    queue.add(owed(2, "A"), "A", 0.0)
    finish(queue, batch, done=[])  # two halves: A and B
    flying = queue.take_half(0)
    gone = queue.withdraw(1.0, [0])
    assert sorted(row.version for row in gone) == [1, 2]
    assert not queue.has_halves()
    assert (queue.flying(), len(queue)) == (1, 2)
    assert versions(take(queue)) == [4]
    finish(queue, flying)


def test_a_line_whose_head_is_withdrawn_goes_on_with_the_next_row() -> None:
    queue = filled(owed(1, "A", 0), owed(2, "A", 1))
    assert [row.version for row in queue.withdraw(1.0, [0])] == [1]
    assert versions(take(queue)) == [2]


def test_a_dropped_row_in_flight_has_no_result_and_keeps_its_task_busy() -> None:
    queue = filled(owed(1, "A", 0), owed(2, "B", 1))
    batch = take(queue)
    queue.recall([0], drop=True)
    assert batch.recalled
    queue.add(owed(3, "A", 0), "A", 1.0)
    assert queue.ready(Kind.WRITE) == 0
    assert finish(queue, batch) == [2]
    assert versions(take(queue)) == [3]


class Model:
    """What happens to rows, kept by hand beside the queue."""

    def __init__(self) -> None:
        self.queue = RowQueue()
        self.batches: list[Batch] = []
        self.submitted: list[Owed] = []
        self.ended: Counter[int] = Counter()
        self.sent: dict[str, list[int]] = {}
        self.version = 0

    def submit(self, task: str, partition: int, *, verify: bool) -> None:
        self.version += 1
        row = owed(self.version, task, partition, verify=verify)
        self.submitted.append(row)
        self.queue.add(row, task, float(self.version))

    def send(self, limit: int, *, verify: bool) -> None:
        kind = Kind.VERIFY if verify else Kind.WRITE
        if self.queue.has_halves():
            batch = self.queue.take_half(0)
        elif self.queue.ready(kind):
            batch = take(self.queue, limit, kind)
        else:
            return
        busy = {entry.task_id for other in self.batches for entry in other.entries}
        tasks = [entry.task_id for entry in batch.entries]
        assert len(set(tasks)) == len(tasks), "a Task twice in one request"
        assert not busy & set(tasks), "a Task in two requests"
        assert all(entry.owed.verify == batch.verify for entry in batch.entries)
        for entry in batch.entries:
            self.sent.setdefault(entry.task_id, []).append(entry.owed.version)
        self.batches.append(batch)

    def answer(self, which: int, *, split: bool) -> None:
        if not self.batches:
            return
        batch = self.batches.pop(which % len(self.batches))
        is_split = split and len(batch.entries) > 1 and not batch.verify and not batch.recalled
        done: list[Entry] = batch.entries[:1] if is_split else batch.entries
        told = self.queue.finish(batch, dict.fromkeys(done, SETTLED), 0.0)
        self.end(entry.owed for entry, _ in told)

    def withdraw(self, partition: int) -> None:
        self.end(self.queue.withdraw(0.0, [partition]))

    def end(self, rows: object) -> None:
        self.ended.update(row.version for row in rows)  # type: ignore[attr-defined]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"), st.sampled_from(TASKS), st.sampled_from(PARTITIONS), st.booleans()
        ),
        st.tuples(st.just("send"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("withdraw"), st.sampled_from(PARTITIONS)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_every_row_ends_once_and_a_task_sees_its_rows_in_order(
    steps: list[tuple[object, ...]],
) -> None:
    model = Model()
    for step in steps:
        match step:
            case ("submit", str(task), int(partition), bool(verify)):
                model.submit(task, partition, verify=verify)
            case ("send", int(limit), bool(verify)):
                model.send(limit, verify=verify)
            case ("answer", int(which), bool(split)):
                model.answer(which, split=split)
            case ("withdraw", int(partition)):
                model.withdraw(partition)
    for _ in range(10 * len(steps)):  # let it run dry
        model.send(200, verify=False)
        model.send(200, verify=True)
        model.answer(0, split=False)
    assert len(model.queue) == 0
    assert model.queue.flying() == 0
    assert model.ended == Counter(row.version for row in model.submitted)
    for sent in model.sent.values():
        assert sent == sorted(sent), "of one Task, an older row after a newer one"

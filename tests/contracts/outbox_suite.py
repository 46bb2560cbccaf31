"""What `ports.Outbox` and `ports.Restore` say, as tests: run on the simulation's outbox and on a
real Kafka. A subclass whose name begins with `Test` gives the fixture `kafka_with`.
"""

from __future__ import annotations

import pytest

from processor.core.events import MessageState
from processor.errors import StoreFailed
from processor.ports import (
    Aborted,
    Committed,
    CommittedOffset,
    DeadLetter,
    Fenced,
    Position,
    Restored,
    Transaction,
)
from tests.contracts.kafka_kit import KafkaWith, Letter, Process
from tests.integration.kit import state

Change = tuple[str, MessageState | None]


def writes(*keys: str, gone: tuple[str, ...] = (), at: int = 1, mark: str = "mark") -> Transaction:
    """Of partition 0: an offset, a status for each key, tombstones."""
    return Transaction(
        positions={0: Position(at, 0)},
        marks={0: mark},
        statuses={0: [state(key) for key in keys]} if keys else {},
        tombstones={0: list(gone)} if gone else {},
    )


def commit(process: Process, transaction: Transaction) -> int:
    """The checkpoint of partition 0."""
    done = process.outbox.commit(transaction)
    assert isinstance(done, Committed), done
    return done.checkpoints[0]


def changes(*keys: str) -> list[Change]:
    return [(key, state(key)) for key in keys]


class CommitContract:
    """What one transaction carries, and what is left of one that fails."""

    def test_statuses_tombstones_and_offsets_of_every_partition_go_together(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(3)
        writer = kafka.process().join(0, 1, 2)
        done = writer.outbox.commit(
            Transaction(
                positions={0: Position(10, 1), 1: Position(20, 2), 2: Position(30, 3)},
                marks={0: "nought", 1: "one", 2: "two"},
                statuses={0: [state("a"), state("b")], 1: [state("c")]},
                tombstones={1: ["old"]},
            )
        )
        assert done == Committed({0: 2, 1: 2})
        assert kafka.statuses() == [
            (0, "a", state("a")),
            (0, "b", state("b")),
            (1, "old", None),
            (1, "c", state("c")),
        ]
        assert writer.committed(0) == CommittedOffset(10, "nought")
        assert writer.committed(1) == CommittedOffset(20, "one")
        assert writer.committed(2) == CommittedOffset(30, "two")

    def test_a_checkpoint_is_the_offset_behind_the_last_record_of_the_partition(
        self, kafka_with: KafkaWith
    ) -> None:
        writer = kafka_with(1).process().join(0)
        assert writer.outbox.commit(writes("a", "b", "c")) == Committed({0: 3})
        assert writer.outbox.commit(writes("d")) == Committed({0: 5})  # a marker lies at 3
        assert writer.outbox.commit(writes(gone=("a", "d"))) == Committed({0: 8})
        assert writer.outbox.commit(writes(at=2)) == Committed({})

    def test_a_partition_of_which_nothing_was_read_stands_at_its_beginning(
        self, kafka_with: KafkaWith
    ) -> None:
        """Without an offset the transaction would not be fenced."""
        kafka = kafka_with(1)
        sent = kafka.produce(0, 9)
        kafka.delete_before(0, sent[4])
        writer = kafka.process().join(0)
        commit(writer, writes("a", at=-1))
        assert writer.committed(0) == CommittedOffset(sent[4], "mark")

    def test_an_empty_transaction_is_committed_before_there_is_a_member(
        self, kafka_with: KafkaWith
    ) -> None:
        assert kafka_with(1).process().outbox.commit(Transaction()) == Committed({})

    def test_an_aborted_transaction_is_invisible_and_the_same_one_may_follow(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 1)
        writer = kafka.process().join(0).start()
        (record,) = writer.read(1)
        transaction = writes("m", gone=("old",), at=3)
        letter = DeadLetter("decode", "bad_magic", "0xff", 0, record=record)
        transaction.dead_letters.append(letter)
        with kafka.behind(writer):
            assert isinstance(writer.outbox.commit(transaction), Aborted)
        assert kafka.statuses() == []
        assert kafka.letters() == []
        assert writer.committed(0) == CommittedOffset(-1)
        commit(writer, transaction)
        assert kafka.statuses() == [(0, "old", None), (0, "m", state("m"))]
        assert kafka.letters() == [Letter("decode", "bad_magic", (0, record.offset() or 0))]
        assert writer.committed(0) == CommittedOffset(3, "mark")

    def test_a_dead_letter_lands_with_its_stage_and_its_reason(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 2)
        writer = kafka.process().join(0).start()
        poison, late = writer.read(2)
        transaction = writes("refused", at=2)
        transaction.dead_letters += [
            DeadLetter("decode", "bad_magic", "0xff", 0, record=poison),
            DeadLetter("collapse", "too_late", "an hour", 0, record=late),
            DeadLetter("salesforce", "ENTITY_IS_DELETED", "", 0, state=state("refused")),
        ]
        commit(writer, transaction)
        assert sorted(kafka.letters(), key=str) == [
            Letter("collapse", "too_late", (0, late.offset() or 0)),
            Letter("decode", "bad_magic", (0, poison.offset() or 0)),
            Letter("salesforce", "ENTITY_IS_DELETED", "refused"),
        ]

    def test_a_fenced_process_writes_nothing_until_it_is_renewed(
        self, kafka_with: KafkaWith
    ) -> None:
        """Another process has come by its name."""
        kafka = kafka_with(1)
        writer = kafka.process("pod-0").join(0)
        kafka.take_the_name("pod-0")
        assert isinstance(writer.outbox.commit(writes("m")), Fenced)
        assert kafka.statuses() == []
        writer.rejoin()
        writer.join(0)
        commit(writer, writes("m"))
        assert kafka.statuses() == [(0, "m", state("m"))]

    def test_a_member_that_was_thrown_out_commits_nothing_before_it_has_polled_again(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        writer = kafka.process(hasty=True).join(0)
        kafka.throw_out(writer)
        assert isinstance(writer.outbox.commit(writes("zombie")), Aborted | Fenced)
        assert kafka.statuses() == []


class RestoreContract:
    """What is read back."""

    def test_states_and_tombstones_come_back_in_log_order(self, kafka_with: KafkaWith) -> None:
        owner = kafka_with(2).process().join(0, 1)
        commit(owner, writes("a", "b"))
        commit(owner, writes("b", gone=("a",)))
        end = commit(owner, writes("c"))
        owner.outbox.commit(
            Transaction({1: Position(0, 0)}, {1: "other"}, statuses={1: [state("other")]})
        )
        restored = owner.restore(0)
        assert restored.changes == [*changes("a", "b"), ("a", None), *changes("b", "c")]
        assert restored.offset >= end
        assert restored.done

    def test_a_restore_from_a_checkpoint_reads_only_what_came_after(
        self, kafka_with: KafkaWith
    ) -> None:
        owner = kafka_with(1).process().join(0)
        checkpoint = commit(owner, writes("a", "b"))
        commit(owner, writes("c"))
        restored = owner.restore(0, checkpoint)
        assert restored.changes == changes("c")
        again = owner.restore(0, restored.offset)
        assert (again.changes, again.offset, again.done) == ([], restored.offset, True)
        commit(owner, writes("d"))
        assert owner.restore(0, restored.offset).changes == changes("d")

    def test_an_empty_status_topic_is_restored_at_once(self, kafka_with: KafkaWith) -> None:
        assert kafka_with(1).process().join(0).steps(0) == [Restored([], 0, 0, done=True)]

    def test_what_was_aborted_is_not_restored_and_the_restore_ends_behind_it(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        owner = kafka.process().join(0)
        for number in range(3):
            kafka.hold(owner, 0, f"never {number}", CommittedOffset(7)).abort()
        commit(owner, writes("a"))
        kafka.hold(owner, 0, "never", CommittedOffset(7)).abort()
        restored = owner.restore(0)
        assert restored.changes == changes("a")
        assert restored.offset == 10  # a record and a marker of each

    def test_a_restore_waits_for_what_lies_behind_an_open_transaction(
        self, kafka_with: KafkaWith
    ) -> None:
        """A read-committed reader sees the log end before it: half is missing."""
        kafka = kafka_with(1)
        owner = kafka.process().join(0)
        commit(owner, writes("a"))
        owner.committed(0)
        held = kafka.hold(owner, 0, "late", CommittedOffset(2))
        done = owner.outbox.commit(
            Transaction({0: Position(1, 0)}, {0: "mark"}, statuses={0: [state("b")]})
        )
        assert isinstance(done, Committed)
        restore = owner.outbox.restore(0, None)
        steps = [kafka.let_pass(lambda: restore.step(10, 0.1)) for _ in range(10)]
        assert not any(step.done for step in steps)
        held.commit()
        while not steps[-1].done:
            steps.append(kafka.let_pass(lambda: restore.step(10, 0.1)))
        restore.close()
        assert [change for step in steps for change in step.changes] == changes("a", "late", "b")

    def test_a_restore_ends_where_the_log_ended_at_its_beginning(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        owner = kafka.process().join(0)
        commit(owner, writes(*(f"m{number}" for number in range(20))))
        owner.committed(0)
        restore = owner.outbox.restore(0, None)
        steps = [kafka.until(lambda: _with_changes(restore.step(5, 0.1)))]
        number = 0
        while not steps[-1].done:
            number += 1
            commit(owner, writes(f"late {number}"))
            assert number < 100, "it has no end"
            steps.append(kafka.let_pass(lambda: restore.step(5, 0.1)))
        restore.close()
        assert all(len(step.changes) <= 5 for step in steps)
        found = [key for step in steps for key, _ in step.changes]
        assert found[:20] == [f"m{number}" for number in range(20)]

    def test_the_mark_comes_with_the_last_record_of_its_transaction(
        self, kafka_with: KafkaWith
    ) -> None:
        """So that a store never believes more than it holds."""
        owner = kafka_with(1).process().join(0)
        commit(owner, writes("a", "b", gone=("old",), mark="one"))
        commit(owner, writes(gone=("a", "b"), mark="two"))
        steps = owner.steps(0, max_records=1)
        marks = [step.mark for step in steps if step.changes]
        assert marks == ["", "", "one", "", "two"]
        assert owner.restore(0).mark == "two"
        assert owner.restore(0, steps[-1].offset).mark == ""

    def test_a_checkpoint_beyond_the_log_fails_the_store(self, kafka_with: KafkaWith) -> None:
        owner = kafka_with(1).process().join(0)
        commit(owner, writes("a"))
        with pytest.raises(StoreFailed, match="ahead of the status topic"):
            owner.restore(0, 100)

    def test_a_restore_begins_only_after_the_stable_offset_has_come(
        self, kafka_with: KafkaWith
    ) -> None:
        owner = kafka_with(1).process().join(0)
        with pytest.raises(RuntimeError, match="before its stable offset came"):
            owner.outbox.restore(0, None)
        owner.committed(0)
        owner.outbox.restore(0, None).close()
        owner.rejoin()
        owner.polls_until(lambda: owner.owns(0))
        with pytest.raises(RuntimeError, match="before its stable offset came"):
            owner.outbox.restore(0, None)

    def test_what_the_last_owner_still_had_on_its_way_belongs_to_the_restore(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        owner = kafka.process().join(0)
        held = kafka.hold(owner, 0, "late", CommittedOffset(2))
        assert owner.source.committed(0, 0.3) is None
        held.commit()
        assert owner.committed(0) == CommittedOffset(2)
        assert owner.restore(0).changes == changes("late")

    def test_a_restore_given_up_and_begun_anew_reads_everything(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        owner = kafka.process().join(0)
        keys = [f"m{number}" for number in range(kafka.many // 10)]
        commit(owner, writes(*keys))
        owner.committed(0)
        restore = owner.outbox.restore(0, None)
        kafka.until(lambda: restore.step(5, 0.1).changes)
        restore.close()
        assert owner.restore(0).changes == changes(*keys)

    def test_several_partitions_are_restored_side_by_side(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(4)
        owner = kafka.process().join(0, 1, 2, 3)
        keys = {p: [f"{p}-{number}" for number in range(kafka.many // 10)] for p in range(4)}
        statuses = {p: [state(key) for key in keys[p]] for p in range(4)}
        positions = dict.fromkeys(range(4), Position(0, 0))
        done = owner.outbox.commit(
            Transaction(positions, dict.fromkeys(range(4), "mark"), statuses)
        )
        assert isinstance(done, Committed)
        for partition in range(4):
            owner.committed(partition)
        restores = {partition: owner.outbox.restore(partition, None) for partition in range(4)}
        found: dict[int, list[str]] = {partition: [] for partition in range(4)}

        def all_done() -> bool:
            for partition in list(restores):
                step = restores[partition].step(500, 0.1)
                assert len(step.changes) <= 500
                found[partition] += [key for key, _ in step.changes]
                if step.done:
                    restores.pop(partition).close()
            return not restores

        kafka.until(all_done)
        assert found == keys


def _with_changes(step: Restored) -> Restored | None:
    return step if step.changes else None

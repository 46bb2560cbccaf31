"""Restoring a partition's state from the status topic, while its last owner may just have died.

Each test here fails when the line of the design that it stands for is not kept.
"""

from __future__ import annotations

import time

import pytest
from confluent_kafka import TopicPartition

from processor.errors import StopProcessing, StoreFailed
from processor.ports import Committed, Position, Restored, Transaction
from tests.integration.kit import (
    SHORT_POLL_MS,
    Kafka,
    Members,
    Topics,
    encode,
    state,
    until,
    writes,
)
from tests.support.patience import Patience

pytestmark = pytest.mark.kafka


def ids(restored: Restored) -> list[str]:
    return [message_id for message_id, _ in restored.changes]


def test_states_and_tombstones_come_back_in_log_order(topics: Topics, member: Members) -> None:
    owner = member(topics(2)).join(0, 1)
    owner.outbox.commit(writes(0, "a", "b"))
    owner.outbox.commit(Transaction({0: Position(0, 0)}, tombstones={0: ["a"]}))
    done = owner.outbox.commit(writes(0, "b", "c"))
    owner.outbox.commit(writes(1, "other"))
    restored = owner.restore(0)
    assert restored.changes == [
        ("a", state("a")),
        ("b", state("b")),
        ("a", None),
        ("b", state("b")),
        ("c", state("c")),
    ]
    assert isinstance(done, Committed)
    assert restored.offset >= done.checkpoints[0]


def test_a_restore_from_a_checkpoint_reads_only_what_came_after(
    topics: Topics, member: Members
) -> None:
    owner = member(topics(1)).join(0)
    first = owner.outbox.commit(writes(0, "a", "b"))
    owner.outbox.commit(writes(0, "c"))
    assert isinstance(first, Committed)
    restored = owner.restore(0, first.checkpoints[0])
    assert ids(restored) == ["c"]
    again = owner.restore(0, restored.offset)
    assert (again.changes, again.done) == ([], True)
    assert again.offset == restored.offset


def test_an_empty_status_topic_is_restored_at_once(topics: Topics, member: Members) -> None:
    owner = member(topics(1)).join(0)
    limit = Patience(2)
    assert owner.restore(0) == Restored([], 0, 0, done=True)
    assert not limit.is_over()


def test_a_restore_ends_although_the_log_ends_with_transaction_markers(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a"))
    for _ in range(3):
        cluster.open_transaction(names.status, 0, ["aborted"]).abort_transaction()
    restored = owner.restore(0)
    assert ids(restored) == ["a"]
    assert restored.offset == 8  # a, its marker, and three times an aborted record and a marker


def test_what_was_aborted_is_not_restored(cluster: Kafka, topics: Topics, member: Members) -> None:
    names = topics(1)
    cluster.open_transaction(names.status, 0, ["x", "y"]).abort_transaction()
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a"))
    assert ids(owner.restore(0)) == ["a"]


def test_a_restore_waits_for_what_lies_behind_a_dead_owners_open_transaction(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    """A read-committed reader sees the log end before the open transaction: half is missing."""
    names = topics(1)
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a", "b"))
    began = time.monotonic()
    cluster.open_transaction(names.status, 0, ["never"], timeout_ms=4_000)
    owner.outbox.commit(writes(0, "c", "d"))
    assert ids(owner.restore(0)) == ["a", "b", "c", "d"]
    assert time.monotonic() - began > 4


def test_the_committed_position_waits_for_open_transactions_that_hold_it(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a", at=1))
    producer = cluster.open_transaction(names.status, 0, ["b"])
    place = TopicPartition(names.events, 0, 2)
    producer.send_offsets_to_transaction([place], owner.source.member())
    assert owner.source.committed(0, 1) is None
    producer.commit_transaction()
    assert owner.committed(0) == Position(2, 0)


def test_a_restore_begins_only_after_the_stable_position_has_come(
    topics: Topics, member: Members
) -> None:
    owner = member(topics(1)).join(0)
    with pytest.raises(RuntimeError, match="before its stable offset came"):
        owner.outbox.restore(0, None)
    owner.committed(0)
    owner.outbox.restore(0, None).close()
    owner.source.rejoin()
    until(lambda: owner.source.poll(10, 0.1) == {} and owner.owns(0))
    with pytest.raises(RuntimeError, match="before its stable offset came"):
        owner.outbox.restore(0, None)


def test_the_mark_is_taken_after_the_stable_position(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    """The last owner's transaction may still be on its way: its statuses belong to the restore."""
    names = topics(1)
    owner = member(names).join(0)
    producer = cluster.open_transaction(names.status, 0, ["late"])
    place = TopicPartition(names.events, 0, 2)
    producer.send_offsets_to_transaction([place], owner.source.member())
    assert owner.source.committed(0, 0.5) is None
    producer.commit_transaction()
    assert owner.committed(0) == Position(2, 0)
    assert ids(owner.restore(0)) == ["late"]


def test_input_is_held_back_and_polling_goes_on_while_a_restore_waits(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, [b"event"] * 10)
    cluster.open_transaction(names.status, 0, ["never"], timeout_ms=6_000)
    at_once, in_time = Patience(5), Patience(30)
    owner = member(names, max_poll_ms=SHORT_POLL_MS).join(0)
    owner.committed(0)
    assert not at_once.is_over(), "the assignment itself must not wait for anything"
    restore = owner.outbox.restore(0, None)
    steps = 0
    while not restore.step(100, 0.1).done:
        steps += 1
        assert owner.source.poll(100, 0.05) == {}
        assert not in_time.is_over()
    assert steps > 10
    assert owner.listener.calls == [("assigned", [0])]
    assert len(owner.start().read(10)) == 10


def test_several_partitions_are_restored_side_by_side(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(4)
    owner = member(names).join(0, 1, 2, 3)
    for partition in range(4):
        owner.outbox.commit(writes(partition, *(f"{partition}-{n}" for n in range(3_000))))
        owner.committed(partition)
    restores = {partition: owner.outbox.restore(partition, None) for partition in range(4)}
    found: dict[int, list[str]] = {partition: [] for partition in range(4)}
    left = set(restores)
    limit = Patience(30)
    while left:
        assert not limit.is_over()
        for partition in list(left):
            step = restores[partition].step(500, 0.1)
            assert len(step.changes) <= 500
            found[partition] += ids(step)
            if step.done:
                left.discard(partition)
    for partition in range(4):
        assert found[partition] == [f"{partition}-{n}" for n in range(3_000)]


def test_a_restore_given_up_and_begun_anew_reads_everything(
    topics: Topics, member: Members
) -> None:
    owner = member(topics(1)).join(0)
    owner.outbox.commit(writes(0, *(f"m{n}" for n in range(2_000))))
    owner.committed(0)
    restore = owner.outbox.restore(0, None)
    until(lambda: restore.step(100, 0.1).changes)
    restore.close()
    assert len(owner.restore(0).changes) == 2_000


def test_a_checkpoint_below_the_log_fails_the_store(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)._replace(status=f"status-deletable-{time.time_ns()}")
    cluster.create(names.status, 1, {"cleanup.policy": "compact,delete"})
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a", "b", "c"))
    owner.outbox.commit(writes(0, "d"))
    cluster.delete_before(names.status, 0, 2)
    with pytest.raises(StoreFailed, match="no longer holds offset 1"):
        owner.restore(0, 1)
    assert ids(owner.restore(0)) == ["c", "d"]


def test_a_checkpoint_beyond_the_log_fails_the_store(topics: Topics, member: Members) -> None:
    owner = member(topics(1)).join(0)
    owner.outbox.commit(writes(0, "a"))
    with pytest.raises(StoreFailed, match="ahead of the status topic"):
        owner.restore(0, 100)


@pytest.mark.parametrize("key", [b"m", None])
def test_a_status_record_that_cannot_be_read_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members, key: bytes | None
) -> None:
    names = topics(1)._replace(status=f"status-foreign-{time.time_ns()}")
    cluster.create(names.status, 1)
    cluster.produce(names.status, 0, [b"{}" if key else encode(state("m"))], key)
    with pytest.raises(StopProcessing, match=r"\[0\] at 0"):
        member(names).join(0).restore(0)

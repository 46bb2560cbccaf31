"""The fence: a process whose partitions have moved can't write for them any more.

Kafka fences members of a group, not partitions, and only in transactions that carry offsets.
Each test here fails when the line of the design that it stands for is not kept.
"""

from __future__ import annotations

import time

import pytest

from processor.kafka.client.options import MIN_SESSION_TIMEOUT_MS
from processor.kafka.client.producer import TRANSACTION_TIMEOUT_MS, TransactionalProducer
from processor.ports import (
    Aborted,
    Committed,
    CommittedOffset,
    DeadLetter,
    Fenced,
    Position,
    Transaction,
)
from tests.integration.kit import (
    SHORT_POLL_MS,
    JsonCodec,
    Kafka,
    Member,
    Members,
    Names,
    Topics,
    state,
    until,
    writes,
)
from tests.support.patience import Patience, patient

pytestmark = pytest.mark.kafka


def take_over(member: Members, zombie: Member, protocol: str = "classic") -> Member:
    """Somebody else gets the only partition, because the owner has stopped polling."""
    heir = member(zombie.names, protocol=protocol)
    heir.outbox.renew()
    until(lambda: heir.source.poll(10, 0.1) == {} and heir.owns(0))
    assert list(zombie.source.assigned()) == [0], "it must not know yet"
    return heir


@pytest.mark.parametrize(("protocol", "at"), [("classic", 5), ("classic", -1), ("consumer", 5)])
def test_a_zombie_cannot_write_after_its_partition_has_moved(
    cluster: Kafka, topics: Topics, member: Members, protocol: str, at: int
) -> None:
    """Its positions are unchanged, or of a partition of which nothing was ever read."""
    names = topics(1)
    zombie = member(names, protocol=protocol, max_poll_ms=SHORT_POLL_MS).join(0)
    if at >= 0:
        assert isinstance(zombie.outbox.commit(writes(0, "before", at=at)), Committed)
    heir = take_over(member, zombie, protocol)
    assert isinstance(heir.outbox.commit(writes(0, "heir", at=9)), Committed)
    assert isinstance(zombie.outbox.commit(writes(0, "zombie", at=at)), Aborted | Fenced)
    assert "zombie" not in cluster.keys(names.status)
    assert heir.committed(0).offset == 9


def test_a_member_that_was_thrown_out_writes_nothing_before_it_has_polled_again(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    """The client itself may know already, and would name no member: taken without a check. By the
    classic protocol too: `tests/contracts/outbox_suite.py`.
    """
    names = topics(1)
    zombie = member(names, protocol="consumer", max_poll_ms=SHORT_POLL_MS).join(0)
    heir = take_over(member, zombie, "consumer")
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        assert isinstance(zombie.outbox.commit(writes(0, "zombie", at=1)), Aborted | Fenced)
        heir.source.poll(10, 0.1)
    assert cluster.keys(names.status) == []


def part(kind: str) -> Transaction:
    transaction = Transaction()
    if kind == "statuses":
        transaction.statuses[0] = [state("m")]
    elif kind == "tombstones":
        transaction.tombstones[0] = ["m"]
    else:
        transaction.dead_letters.append(DeadLetter("salesforce", "why", "", 0, state=state("m")))
    return transaction


@pytest.mark.parametrize("kind", ["statuses", "tombstones", "dead letters"])
def test_a_transaction_carries_the_position_of_every_partition_it_writes_for(
    cluster: Kafka, topics: Topics, member: Members, kind: str
) -> None:
    names = topics(2)
    writer = member(names).join(0, 1)
    transaction = part(kind)
    transaction.positions[1] = Position(3, 0)
    with pytest.raises(RuntimeError, match=r"without the positions of partitions \[0\]"):
        writer.outbox.commit(transaction)
    assert cluster.keys(names.status) == cluster.keys(names.dead_letter) == []


def test_a_live_member_cannot_write_for_the_partition_of_another(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(2)
    first = member(names).join(0, 1)
    second = member(names)
    second.outbox.renew()

    def shared() -> bool:
        first.source.poll(10, 0.1)
        second.source.poll(10, 0.1)
        return len(first.source.assigned()) == len(second.source.assigned()) == 1

    until(shared)
    (theirs,) = second.source.assigned()
    with pytest.raises(RuntimeError, match="not ours"):
        first.outbox.commit(writes(theirs, "stolen", at=8))
    assert cluster.keys(names.status) == []
    assert second.committed(theirs).offset == -1


def test_nothing_is_written_before_the_group_has_given_an_assignment(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    early = member(names)
    early.outbox.renew()
    time.sleep(2)  # the client may have joined by itself meanwhile; nobody has polled
    with pytest.raises(RuntimeError, match="not ours"):
        early.outbox.commit(writes(0, "early", at=1))
    assert early.source.member() is None
    assert cluster.keys(names.status) == []


def test_an_instance_that_starts_again_under_its_name_waits_for_no_timeout(
    topics: Topics, member: Members
) -> None:
    names = topics(1)
    dead = _dies_in_a_transaction(member, names, transactional_id="pod-0")
    limit = Patience(5)
    again = member(names, transactional_id="pod-0")
    again.outbox.renew()
    dead.source.close()
    until(lambda: again.source.poll(10, 0.1) == {} and again.owns(0))
    assert again.committed(0).offset == -1
    assert not limit.is_over()


def test_the_transaction_of_a_dead_instance_ends_before_its_partitions_can_move(
    topics: Topics, member: Members
) -> None:
    assert TRANSACTION_TIMEOUT_MS * 2 <= MIN_SESSION_TIMEOUT_MS
    names = topics(1)
    began = time.monotonic()
    dead = _dies_in_a_transaction(member, names)
    limit = Patience(TRANSACTION_TIMEOUT_MS / 1_000 + 5)
    dead.source.close()
    heir = member(names).join(0)
    was_open = heir.source.committed(0, 0.5) is None
    assert was_open or time.monotonic() - began > TRANSACTION_TIMEOUT_MS / 1_000
    until(lambda: heir.source.poll(10, 0.1) == {} and heir.source.committed(0, 0.5) is not None)
    assert not limit.is_over()


class Died(Exception):  # not an error: what kill -9 would do
    pass


def _dies_in_a_transaction(
    member: Members, names: Names, transactional_id: str | None = None
) -> Member:
    """Offsets and a status are sent, then nothing more."""
    dead = member(names, transactional_id=transactional_id).join(0)
    producer = dead.outbox._transactions._producer
    assert isinstance(producer, TransactionalProducer)

    def die() -> None:
        producer._producer.flush(10)
        raise Died

    producer.commit = die  # type: ignore[method-assign] # this one instance is to die
    with pytest.raises(Died):
        dead.outbox.commit(writes(0, "unfinished", at=4))
    dead.outbox._transactions._producer = None  # nobody aborts for it
    return dead


def test_an_earlier_process_of_the_same_name_is_fenced(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    first = member(names, transactional_id="pod-1").join(0)
    member(names, transactional_id="pod-1").outbox.renew()
    assert isinstance(first.outbox.commit(writes(0, "old")), Fenced)
    assert cluster.keys(names.status) == []


def test_processes_without_a_name_do_not_fence_each_other(topics: Topics, member: Members) -> None:
    names = topics(1)
    first = member(names).join(0)
    member(names).outbox.renew()
    assert isinstance(first.outbox.commit(writes(0, "m")), Committed)


def test_a_renewed_producer_keeps_its_name_and_ends_what_the_last_one_left_open(
    topics: Topics, member: Members
) -> None:
    names = topics(1)
    half_dead = _dies_in_a_transaction(member, names)
    half_dead.outbox.renew()
    assert half_dead.source.committed(0, 3) == CommittedOffset(-1)


def test_a_producer_that_outlived_its_transaction_is_thrown_away(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(2)
    slow = [True]
    lasts_s = patient(1.5)

    def sleep_once(encoded: object) -> None:
        if slow and getattr(encoded, "message_id", "") == "late":
            slow.clear()
            time.sleep(lasts_s + 2.5)  # longer than the transaction may last

    writer = member(
        names,
        codec=JsonCodec(before_encode=sleep_once),
        transaction_timeout_ms=round(lasts_s * 1_000),
    ).join(0, 1)
    transaction = Transaction(
        positions={0: Position(5, 1), 1: Position(5, 1)},
        statuses={0: [state("early")] * 2_000, 1: [state("late")]},
    )
    assert isinstance(writer.outbox.commit(transaction), Fenced)
    assert cluster.keys(names.status) == []
    writer.outbox.renew()
    assert isinstance(writer.outbox.commit(transaction), Committed)
    assert cluster.keys(names.status).count("late") == 1

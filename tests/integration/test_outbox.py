"""What one transaction carries, and what becomes of it when something goes wrong."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from processor.errors import ConfigError, StopProcessing, Unavailable
from processor.kafka.client import producer as producer_module
from processor.kafka.client.producer import batching
from processor.kafka.outbox import KafkaOutbox, MaxBytes
from processor.ports import Committed, DeadLetter, Fenced, Position, Transaction
from tests.integration.kit import (
    Broker,
    JsonCodec,
    Kafka,
    Member,
    Members,
    Names,
    Topics,
    encode,
    state,
    until,
    writes,
)
from tests.support.patience import Patience

pytestmark = pytest.mark.kafka


def headers(message: Message) -> dict[str, str]:
    found: Any = message.headers() or []
    return {name: (value or b"").decode() for name, value in found}


def test_a_dead_letter_is_the_raw_record_with_connects_headers(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    sent: Any = [("trace", b"\x00\xff"), ("nothing", None), ("trace", b"2")]
    producer.produce(names.events, b"\x00bytes\xff", b"k\xff", 0, None, None, 1_234_567, sent)
    producer.flush()
    writer = member(names).join(0).start()
    (record,) = writer.read(1)
    letter = DeadLetter("decode", "bad_magic", "0xff", 0, record=record)
    began = time.time_ns() // 1_000_000
    done = writer.outbox.commit(Transaction({0: Position(1, 0)}, dead_letters=[letter]))
    assert done == Committed({})
    (dead,) = cluster.read(names.dead_letter)
    assert (dead.key(), dead.value()) == (b"k\xff", b"\x00bytes\xff")
    assert dead.timestamp()[1] >= began
    found: Any = dead.headers()
    assert found[:3] == sent
    assert found[3:] == [
        ("__connect.errors.topic", names.events.encode()),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"0"),
        ("__connect.errors.stage", b"decode"),
        ("__connect.errors.exception.class.name", b"bad_magic"),
        ("__connect.errors.exception.message", b"0xff"),
        ("processor.event.timestamp_ms", b"1234567"),
    ]


def test_empty_keys_and_values_stay_empty_in_the_dead_letter_topic(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, [None, b""])
    writer = member(names).join(0).start()
    letters = [DeadLetter("decode", "empty", "", 0, record=r) for r in writer.read(2)]
    writer.outbox.commit(Transaction({0: Position(2, 0)}, dead_letters=letters))
    assert sorted((m.value() for m in cluster.read(names.dead_letter)), key=str) == [None, b""]


def test_a_refused_row_is_a_dead_letter_that_points_to_its_status_record(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    writer = member(names).join(0)
    writer.outbox.commit(writes(0, "before"))
    transaction = writes(0, "a", "refused", "b")
    letter = DeadLetter("salesforce", "ENTITY_IS_DELETED", "", 0, state=state("refused"))
    transaction.dead_letters.append(letter)
    assert writer.outbox.commit(transaction) == Committed({0: 5})
    (dead,) = cluster.read(names.dead_letter)
    assert (dead.key(), dead.value()) == (b"refused", encode(state("refused")))
    assert headers(dead) == {
        "processor.status.topic": names.status,
        "processor.status.partition": "0",
        "processor.status.offset": "3",
        "__connect.errors.stage": "salesforce",
        "__connect.errors.exception.class.name": "ENTITY_IS_DELETED",
        "__connect.errors.exception.message": "ENTITY_IS_DELETED",
    }
    (status,) = [m for m in cluster.read(names.status) if m.key() == b"refused"]
    assert status.offset() == 3


def test_a_tool_that_sends_letters_back_by_connects_headers_leaves_the_status_topic_alone(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    """A refused 200 that was sent back to the status topic took a Task from 220 to 211: a restore
    found it behind the 220.
    """
    names = topics(1)
    cluster.produce(names.events, 0, [b"bad"])
    writer = member(names).join(0).start()
    (record,) = writer.read(1)
    transaction = writes(0, "refused", at=1)
    transaction.dead_letters += [
        DeadLetter("salesforce", "ENTITY_IS_DELETED", "", 0, state=state("refused")),
        DeadLetter("decode", "bad_magic", "", 0, record=record),
    ]
    assert writer.outbox.commit(transaction) == Committed({0: 1})
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    for letter in cluster.read(names.dead_letter):
        origin = headers(letter).get("__connect.errors.topic")
        if origin is not None:
            producer.produce(origin, letter.value(), letter.key(), headers=letter.headers())
    assert producer.flush(10) == 0
    assert cluster.keys(names.status) == ["refused"]
    assert [m.value() for m in cluster.read(names.events)] == [b"bad", b"bad"]


@pytest.mark.parametrize("value", [b"x" * 10_000, b"x" * 20_000])
def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(
    cluster: Kafka, topics: Topics, member: Members, value: bytes
) -> None:
    names = topics(1)._replace(dead_letter=f"small-{time.time_ns()}")
    cluster.create(names.dead_letter, 1, {"max.message.bytes": "10600"})
    cluster.produce(names.events, 0, [value])
    options = {"compression.type": "none"}
    writer = (
        member(names, max_bytes=MaxBytes(dead_letter=10_600), producer_options=options)
        .join(0)
        .start()
    )
    letter = DeadLetter("decode", "bad_magic", "", 0, record=writer.read(1)[0])
    done = writer.outbox.commit(Transaction({0: Position(1, 0)}, dead_letters=[letter]))
    assert done == Committed({})
    (dead,) = cluster.read(names.dead_letter)
    kept = dead.value() or b""
    if len(value) > 10_600:
        assert value.startswith(kept)
        assert len(kept) > 9_000
        assert headers(dead)["processor.truncated"] == str(len(value))
    else:
        assert kept == value
        assert "processor.truncated" not in headers(dead)


def test_a_transaction_is_cut_into_batches_that_its_topics_take(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    """The broker holds max.message.bytes against a batch: whatever lagged was refused for good."""
    most = 100_000
    unique = time.time_ns()
    names = topics(1)._replace(status=f"small-s-{unique}", dead_letter=f"small-d-{unique}")
    for name in (names.status, names.dead_letter):
        cluster.create(name, 1, {"max.message.bytes": str(most)})
    cluster.produce(names.events, 0, [os.urandom(5_000) for _ in range(120)])
    writer = member(names, max_bytes=MaxBytes(most, most)).join(0).start()
    transaction = Transaction(
        {0: Position(120, 0)}, statuses={0: [state(os.urandom(16).hex()) for _ in range(20_000)]}
    )
    transaction.dead_letters += [
        DeadLetter("decode", "bad_magic", "", 0, record=record) for record in writer.read(120)
    ]
    assert isinstance(writer.outbox.commit(transaction), Committed)
    assert len(cluster.keys(names.status)) == 20_000
    assert [len(m.value() or b"") for m in cluster.read(names.dead_letter)] == [5_000] * 120


@pytest.mark.parametrize(
    ("options", "limits", "size"),
    [
        ({}, (1_048_588,), 1_000_000),  # both defaults
        ({}, (5_000_000, 1_048_588), 1_000_000),
        ({}, (5_000_000, 100_000), 97_488),
        ({"batch.size": "50000"}, (100_000,), 50_000),
        ({"batch.size": 4_000_000}, (3_000_000,), 2_939_488),
        ({}, (200,), 1),
    ],
)
def test_batches_are_as_large_as_the_smallest_topic_takes(
    options: dict[str, str | int], limits: tuple[int, ...], size: int
) -> None:
    assert batching(options, *limits)["batch.size"] == size


def test_a_dead_letter_that_cannot_be_written_at_all_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)._replace(dead_letter=f"tiny-{time.time_ns()}")
    cluster.create(names.dead_letter, 1, {"max.message.bytes": "500"})
    cluster.produce(names.events, 0, [bytes(range(256)) * 8])
    writer = member(names, producer_options={"compression.type": "none"}).join(0).start()
    transaction = writes(0, "m", at=1)
    transaction.dead_letters.append(
        DeadLetter("decode", "bad_magic", "", 0, record=writer.read(1)[0])
    )
    with pytest.raises(StopProcessing, match=f"refuses.*{names.dead_letter}"):
        writer.outbox.commit(transaction)
    assert cluster.keys(names.status) == []
    assert writer.committed(0).offset == -1


def test_a_status_that_its_topic_refuses_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)._replace(status=f"tiny-{time.time_ns()}")
    cluster.create(names.status, 1, {"max.message.bytes": "200"})
    writer = member(names, producer_options={"compression.type": "none"}).join(0)
    with pytest.raises(StopProcessing, match=f"refuses.*{names.status}"):
        writer.outbox.commit(writes(0, "m", at=1))
    assert writer.committed(0).offset == -1


def test_a_missing_dead_letter_topic_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)._replace(dead_letter=f"missing-{time.time_ns()}")
    cluster.produce(names.events, 0, [b"x"])
    options = {"topic.metadata.propagation.max.ms": 1_000}
    writer = member(names, producer_options=options).join(0).start()
    transaction = writes(0, "m", at=1)
    transaction.dead_letters.append(DeadLetter("decode", "bad", "", 0, record=writer.read(1)[0]))
    with pytest.raises(StopProcessing, match="refuses"):
        writer.outbox.commit(transaction)
    assert cluster.keys(names.status) == []


def test_fifty_thousand_statuses_fit_into_one_transaction(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(2)
    writer = member(names).join(0, 1)
    ids = [[f"m{partition}-{n}" for n in range(25_000)] for partition in (0, 1)]
    done = writer.outbox.commit(
        Transaction(
            positions={0: Position(1, 1), 1: Position(1, 1)},
            statuses={p: [state(key) for key in ids[p]] for p in (0, 1)},
        )
    )
    assert done == Committed({0: 25_000, 1: 25_000})
    assert sorted(cluster.keys(names.status)) == sorted(ids[0] + ids[1])


def test_a_full_queue_delays_a_transaction_and_loses_nothing(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    options = {"queue.buffering.max.messages": 100, "linger.ms": 1}
    writer = member(names, producer_options=options).join(0)
    ids = [f"m{n}" for n in range(1_000)]
    assert writer.outbox.commit(writes(0, *ids)) == Committed({0: 1_000})
    assert cluster.keys(names.status) == ids


@pytest.mark.chaos
def test_a_commit_whose_outcome_stays_unknown_is_fenced_within_a_bound(
    kafka: Broker,
    cluster: Kafka,
    topics: Topics,
    member: Members,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = topics(1)
    writer = member(names, transaction_timeout_ms=3_000).join(0)
    assert isinstance(writer.outbox.commit(writes(0, "first", at=1)), Committed)
    monkeypatch.setattr(producer_module, "FINISH_TIMEOUT_S", 2.0)
    monkeypatch.setattr(producer_module, "CALL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(producer_module, "INIT_TIMEOUT_S", 2.0)
    kafka.freeze()
    try:
        limit = Patience(20)
        assert isinstance(writer.outbox.commit(writes(0, "second", at=2)), Fenced)
        with pytest.raises(Unavailable):
            writer.outbox.renew()
        assert not limit.is_over()
    finally:
        kafka.thaw()
    monkeypatch.undo()
    until(lambda: _renewed(writer))
    until(lambda: writer.source.poll(10, 0.1) == {} and writer.owns(0))
    until(lambda: isinstance(writer.outbox.commit(writes(0, "second", at=2)), Committed))
    assert cluster.keys(names.status) == ["first", "second"]
    assert writer.committed(0).offset == 2


def _renewed(writer: Member) -> bool:
    try:
        writer.outbox.renew()
    except Unavailable:
        return False
    return True


def test_without_a_broker_a_new_producer_is_unavailable(
    topics: Topics, member: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "INIT_TIMEOUT_S", 0.5)
    source = member(topics(1)).source
    names = Names("g", "e", "s", "d")
    outbox = KafkaOutbox(
        "127.0.0.1:1", source, JsonCodec(), names, options={}, transactional_id=None
    )
    with pytest.raises(Unavailable, match="no transactions"):
        outbox.renew()
    outbox.close()


def test_options_of_the_outbox_are_checked_like_those_of_the_source(
    topics: Topics, member: Members
) -> None:
    source = member(topics(1)).source
    for options in ({"transactional.id": "mine"}, {"compression.type": "soon"}):
        with pytest.raises(ConfigError, match=r"transactional\.id|compression"):
            KafkaOutbox(
                "127.0.0.1:1",
                source,
                JsonCodec(),
                Names("g", "e", "s", "d"),
                options=options,
                transactional_id=None,
            ).renew()

"""Reading the events topic as a member of a group, on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition

from processor.errors import ConfigError, StopProcessing
from processor.kafka.client.options import RESERVED
from processor.kafka.group import offsets as offsets_module
from processor.ports import Committed, Position, RawRecord, Transaction
from tests.integration.kit import (
    PATIENCE_S,
    SESSION_TIMEOUT_MS,
    SHORT_POLL_MS,
    Broker,
    Kafka,
    Member,
    Members,
    Topics,
    until,
    writes,
)
from tests.support.parts import source
from tests.support.patience import Patience

pytestmark = pytest.mark.kafka

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for the ends of the partitions more often than one would."""
    monkeypatch.setattr(offsets_module, "LAG_INTERVAL_S", 0.3)


def numbers(first: int, after: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, after)]


def offsets(records: Sequence[RawRecord], partition: int = 0) -> list[int | None]:
    return [record.offset() for record in records if record.partition() == partition]


@PROTOCOLS
def test_every_record_of_every_partition_is_delivered_once_and_in_order(
    cluster: Kafka, topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(2)
    for partition in (0, 1):
        cluster.produce(names.events, partition, numbers(0, 500))
    reader = member(names, protocol=protocol).join(0, 1).start()
    records = reader.read(1_000)
    assert offsets(records, 0) == offsets(records, 1) == list(range(500))


@PROTOCOLS
def test_an_assigned_partition_delivers_nothing_before_it_is_started(
    cluster: Kafka, topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 20_000))
    reader = member(names, protocol=protocol).join(0)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert reader.source.poll(100, 0.05) == {}
    assert len(reader.start().read(20_000)) == 20_000


def test_a_partition_never_committed_is_read_from_its_beginning(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 20))
    cluster.delete_before(names.events, 0, 5)
    reader = member(names).join(0)
    assert reader.committed(0) == Position(-1, 0)
    assert offsets(reader.start().read(15)) == list(range(5, 20))


def test_an_offset_that_is_no_longer_in_the_log_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 20))
    reader = member(names).join(0)
    assert isinstance(reader.outbox.commit(writes(0, "m", at=3)), Committed)
    cluster.delete_before(names.events, 0, 10)
    reader.start()
    with pytest.raises(StopProcessing, match="deleted before they were read"):
        reader.read(1, timeout_s=10)


def test_a_partition_started_again_delivers_the_same_records_again_and_no_stale_ones(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 20_000))
    reader = member(names).join(0).start()
    source = reader.source
    for _ in range(5):
        first = until(lambda: reader.poll(700, 0.2))
        source.start(0, 0)
        again = until(lambda: reader.poll(700, 0.2))
        assert offsets(first)[0] == offsets(again)[0] == 0
        source.start(0, 0)
    assert offsets(reader.read(20_000)) == list(range(20_000))


def test_a_paused_partition_delivers_nothing_until_it_is_resumed_where_it_stood(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(2)
    for partition in (0, 1):
        cluster.produce(names.events, partition, numbers(0, 1_000))
    reader = member(names).join(0, 1).start()
    before = until(lambda: offsets(reader.poll(100, 0.2)))
    reader.source.pause([0])
    others = [record for _ in range(10) for record in reader.poll(1_000, 0.1)]
    assert offsets(others) == []
    reader.source.resume([0])
    seen = len(before) + len(others)
    assert before + offsets(reader.read(2_000 - seen)) == list(range(1_000))


def test_lag_falls_to_zero_although_the_log_ends_with_a_transaction_marker(
    cluster: Kafka, topics: Topics, member: Members, often: None
) -> None:
    names = topics(1)
    cluster.open_transaction(names.events, 0, ["a", "b"]).commit_transaction()
    reader = member(names).join(0).start()
    reader.read(2)
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.source.at_end(0))
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.source.lag() == {0: 0})


def test_lag_of_a_partition_that_is_not_read_grows_with_its_log(
    cluster: Kafka, topics: Topics, member: Members, often: None
) -> None:
    names = topics(2)
    cluster.produce(names.events, 0, numbers(0, 30))
    cluster.produce(names.events, 1, numbers(0, 7))
    reader = member(names).join(0, 1)
    reader.source.start(1, 3)
    assert len(reader.read(4)) == 4
    until(lambda: reader.source.poll(1, 0.1) == {} and reader.source.lag() == {0: 30, 1: 0})
    reader.source.pause([1])
    cluster.produce(names.events, 1, numbers(0, 5))
    until(lambda: reader.source.poll(1, 0.1) == {} and reader.source.lag() == {0: 30, 1: 5})


def test_the_end_is_seen_again_after_a_partition_was_started_again(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 10))
    reader = member(names).join(0).start()
    for _ in range(3):
        reader.read(10)
        until(lambda: reader.source.poll(10, 0.1) == {} and reader.source.at_end(0))
        reader.source.start(0, 0)
        assert not reader.source.at_end(0)


def test_stream_time_travels_with_the_committed_offset(topics: Topics, member: Members) -> None:
    reader = member(topics(1)).join(0)
    reader.outbox.commit(writes(0, "m", at=7, stream_time=1_700_000_000_123))
    assert reader.committed(0) == Position(7, 1_700_000_000_123)


@pytest.mark.parametrize("text", ["", "by hand", "v1 st=", "v1 st=x", "v1 st=-5"])
def test_an_offset_committed_by_other_tools_has_stream_time_zero(
    kafka: Broker, topics: Topics, member: Members, text: str
) -> None:
    names = topics(1)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": names.group_id}
    with Consumer(config) as tool:
        place = TopicPartition(names.events, 0, 5, metadata=text)
        tool.commit(offsets=[place], asynchronous=False)
    assert member(names).join(0).committed(0) == Position(5, 0)


@PROTOCOLS
def test_a_partition_moves_only_after_its_owner_has_committed_what_it_still_had(
    cluster: Kafka, topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(2)
    first = member(names, protocol=protocol).join(0, 1)

    def commit_all(partitions: Collection[int]) -> None:
        for partition in partitions:
            done = first.outbox.commit(writes(partition, "late", at=40 + partition))
            assert isinstance(done, Committed), done

    first.listener.on_revoked = commit_all
    second = member(names, protocol=protocol)
    until(lambda: _both_poll(first, second) and len(second.source.assigned()) == 1)
    (moved,) = second.source.assigned()
    assert second.committed(moved) == Position(40 + moved, 0)
    assert first.listener.calls == [("assigned", [0, 1]), ("revoked", [moved])]
    assert second.listener.calls == [("assigned", [moved])]
    first.listener.on_revoked = lambda _: None


def _both_poll(*members: Member) -> bool:
    for each in members:
        each.source.poll(100, 0.1)
    return True


@PROTOCOLS
def test_records_of_a_partition_that_moved_are_not_delivered_any_more(
    cluster: Kafka, topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(2)
    for partition in (0, 1):
        cluster.produce(names.events, partition, numbers(0, 20_000))
    first = member(names, protocol=protocol).join(0, 1).start()
    second = member(names, protocol=protocol)
    while len(first.source.assigned()) == 2:
        records = first.source.poll(50, 0.1)
        second.source.poll(50, 0.0)
        assert records.keys() <= set(first.source.assigned())


@PROTOCOLS
def test_a_member_that_is_given_no_partition_has_joined_all_the_same(
    topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(1)
    first = member(names, protocol=protocol).join(0)
    second = member(names, protocol=protocol)
    until(lambda: _both_poll(first, second) and second.source.joined())
    assert not second.source.assigned() or not first.source.assigned()


def test_leaving_hands_the_partitions_over_at_once(topics: Topics, member: Members) -> None:
    names = topics(1)
    first = member(names).join(0)
    first.close()
    assert first.listener.calls[-1] == ("revoked", [0])
    limit = Patience(SESSION_TIMEOUT_MS / 1_000 - 1)
    member(names).join(0)
    assert not limit.is_over()


@PROTOCOLS
def test_what_is_committed_while_leaving_is_kept(
    topics: Topics, member: Members, protocol: str
) -> None:
    names = topics(2)
    first = member(names, protocol=protocol).join(0, 1)
    second = member(names, protocol=protocol)
    until(lambda: _both_poll(first, second) and len(second.source.assigned()) == 1)
    until(lambda: _both_poll(first, second) and len(first.source.assigned()) == 1)
    for _ in range(10):
        _both_poll(first, second)
    (mine,) = first.source.assigned()
    results: list[object] = []
    first.listener.on_revoked = lambda _: results.append(
        first.outbox.commit(writes(mine, "last", at=9))
    )
    first.close()
    assert results == [Committed({mine: 1})]
    until(lambda: second.source.poll(10, 0.1) == {} and second.owns(0, 1))
    assert second.committed(mine) == Position(9, 0)


@PROTOCOLS
def test_rejoining_tells_the_listener_of_no_loss_and_gets_partitions_anew(
    topics: Topics, member: Members, protocol: str
) -> None:
    reader = member(topics(1), protocol=protocol).join(0)
    reader.source.rejoin()
    assert not reader.source.joined()
    assert not reader.source.assigned()
    assert reader.source.member() is None
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.owns(0))
    assert reader.listener.calls == [("assigned", [0]), ("assigned", [0])]
    assert isinstance(reader.outbox.commit(writes(0, "m")), Committed)


@PROTOCOLS
def test_a_member_that_polls_too_late_is_told_that_it_lost_its_partitions(
    topics: Topics, member: Members, protocol: str
) -> None:
    reader = member(topics(1), protocol=protocol, max_poll_ms=SHORT_POLL_MS).join(0)
    time.sleep(5)
    until(lambda: reader.source.poll(10, 0.1) == {} and ("lost", [0]) in reader.listener.calls)
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.owns(0))
    assert isinstance(reader.outbox.commit(writes(0, "m")), Committed)


def test_what_a_listener_raises_comes_out_of_poll(topics: Topics, member: Members) -> None:
    names = topics(1)

    class Failing:
        def assigned(self, partitions: Collection[int]) -> None:
            raise StopProcessing("as the listener said")

        def revoked(self, partitions: Collection[int]) -> None: ...

        def lost(self, partitions: Collection[int]) -> None: ...

    reader = member(names)
    reader.source.subscribe(Failing())
    with pytest.raises(StopProcessing, match="as the listener said"):
        until(lambda: reader.source.poll(10, 0.1))


@pytest.mark.chaos
def test_a_broker_that_is_away_yields_nothing_and_goes_on_when_it_is_back(
    kafka: Broker,
    cluster: Kafka,
    topics: Topics,
    member: Members,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, numbers(0, 10))
    reader = member(names).join(0).start()
    reader.read(10)
    kafka.stop()
    try:
        for _ in range(20):
            assert reader.source.poll(10, 0.1) == {}
        assert reader.source.committed(0, 0.2) is None
        reader.source.lag()
    finally:
        kafka.start()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 3, warnings
    cluster.produce(names.events, 0, numbers(10, 20))
    until(lambda: reader.source.poll(10, 0.1) == {} and reader.owns(0), 2 * PATIENCE_S)


REFUSED = sorted(RESERVED)


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_the_fence_and_restore_depend_on_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        source("localhost:1", "g", "t", options={name: "1"})


@pytest.mark.parametrize(
    ("options", "protocol", "complaint"),
    [
        ({"session.timeout.ms": 19_999}, "classic", "20000 or more"),
        ({"session.timeout.ms": "soon"}, "classic", "not a number"),
        ({"session.timeout.ms": 30_000}, "consumer", "the broker decides"),
        ({"heartbeat.interval.ms": 1_000}, "consumer", "the broker decides"),
        ({}, "share", "group protocol"),
        ({"no.such.property": 1}, "classic", "no.such.property"),
        ({"security.protocol": "sometimes"}, "classic", "security.protocol"),
    ],
)
def test_bad_options_are_refused_with_what_to_change(
    options: dict[str, str | int], protocol: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        source("localhost:1", "g", "t", options=options, group_protocol=protocol)


def test_other_options_reach_the_client() -> None:
    source("localhost:1", "g", "t", options={"fetch.min.bytes": 10, "linger.ms": 5}).close()


def test_an_empty_transaction_is_committed_without_the_broker(
    topics: Topics, member: Members
) -> None:
    assert member(topics(1)).outbox.commit(Transaction()) == Committed({})

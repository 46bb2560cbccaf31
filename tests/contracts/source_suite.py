"""What `ports.Source` says, as tests: run on the simulation's source and on a real Kafka.

A subclass whose name begins with `Test` gives the fixture `kafka_with`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import pytest

from processor.errors import StopProcessing
from processor.ports import Committed, CommittedOffset, Position, RawRecord, Transaction
from tests.contracts.kafka_kit import KafkaWith, Process, offsets
from tests.integration.kit import state

HANDED_OVER_WITHIN_S: Final = 5.0  # less than a session of either side


def moves(partition: int, offset: int, mark: str = "mark") -> Transaction:
    """A transaction that commits the offset, and a status."""
    return Transaction(
        positions={partition: Position(offset, 0)},
        marks={partition: mark},
        statuses={partition: [state(f"m{offset}")]},
    )


class ReadingContract:
    """What a process is given of the partitions that are its own."""

    def test_of_a_partition_that_is_not_ours_nothing_comes(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 5)
        reader = kafka.process()
        reader.source.start(0, 0)
        reader.join(0)
        assert [reader.poll() for _ in range(5)] == [[]] * 5

    def test_a_partition_is_read_from_the_offset_on(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        sent = kafka.produce(0, 20)
        reader = kafka.process().join(0)
        for first in (0, 7, 19):
            reader.source.start(0, sent[first])
            assert offsets(reader.read(20 - first)) == sent[first:]
        reader.source.start(0, -1)
        assert offsets(reader.read(20)) == sent

    def test_what_was_never_committed_is_read_from_the_beginning_that_is_left(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        sent = kafka.produce(0, 20)
        kafka.delete_before(0, sent[5])
        assert offsets(kafka.process().join(0).start().read(15)) == sent[5:]

    @pytest.mark.parametrize("at", [3, 100])
    def test_an_offset_that_the_log_does_not_hold_stops_the_process(
        self, kafka_with: KafkaWith, at: int
    ) -> None:
        """Deleted before it was read, or of a topic that was made anew."""
        kafka = kafka_with(1)
        kafka.delete_before(0, kafka.produce(0, 20)[10])
        reader = kafka.process().join(0)
        reader.source.start(0, at)
        with pytest.raises(StopProcessing, match="no longer holds"):
            reader.read(1)

    def test_a_partition_started_again_delivers_the_same_records_again_and_no_stale_ones(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        sent = kafka.produce(0, kafka.many)
        reader = kafka.process().join(0).start()
        for _ in range(5):
            for _ in range(2):
                assert offsets(kafka.until(lambda: reader.poll(700)))[0] == sent[0]
                reader.source.start(0, 0)
        assert offsets(reader.read(kafka.many)) == sent

    def test_after_an_aborted_transaction_the_same_records_come_again(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        sent = kafka.produce(0, 10)
        reader = kafka.process().join(0).start()
        reader.read(10)
        with kafka.behind(reader):
            assert not isinstance(reader.outbox.commit(moves(0, sent[-1] + 1)), Committed)
        reader.start()
        assert offsets(reader.read(10)) == sent

    def test_a_paused_partition_delivers_nothing_until_it_is_resumed_where_it_stood(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        sent = [kafka.produce(partition, kafka.many // 2) for partition in (0, 1)]
        reader = kafka.process().join(0, 1).start()
        seen: list[RawRecord] = []

        def something_of_the_first() -> bool:
            seen.extend(reader.poll(20))
            return bool(offsets(seen))

        kafka.until(something_of_the_first)
        reader.source.pause([0])
        others = reader.read(len(sent[1]) - len(offsets(seen, 1)))
        assert offsets(others) == []
        assert [reader.poll() for _ in range(5)] == [[]] * 5
        reader.source.resume([0])
        seen += reader.read(len(sent[0]) - len(offsets(seen)))
        assert offsets(seen) == sent[0]

    def test_a_paused_partition_that_is_started_again_delivers(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        sent = kafka.produce(0, 5)
        reader = kafka.process().join(0).start()
        reader.read(5)
        reader.source.pause([0])
        reader.source.start(0, sent[2])
        assert offsets(reader.read(3)) == sent[2:]


class PlaceContract:
    """Where a partition stands: committed offsets, its end, the lag."""

    def test_nothing_committed_is_an_offset_of_minus_one(self, kafka_with: KafkaWith) -> None:
        assert kafka_with(1).process().join(0).committed(0) == CommittedOffset(-1, "")

    def test_the_text_beside_the_offset_travels_with_it(self, kafka_with: KafkaWith) -> None:
        reader = kafka_with(1).process().join(0)
        for offset in (7, 9):
            done = reader.outbox.commit(moves(0, offset, f"at {offset}"))
            assert isinstance(done, Committed)
            assert reader.committed(0) == CommittedOffset(offset, f"at {offset}")

    def test_there_is_no_answer_while_a_transaction_holds_the_offset(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        reader = kafka.process().join(0, 1)
        held = kafka.hold(reader, 0, "m", CommittedOffset(2, "held"))
        assert reader.source.committed(0, 0.3) is None
        assert reader.committed(1) == CommittedOffset(-1, "")
        held.commit()
        assert reader.committed(0) == CommittedOffset(2, "held")
        held = kafka.hold(reader, 0, "m", CommittedOffset(3, "never"))
        assert reader.source.committed(0, 0.3) is None
        held.abort()
        assert reader.committed(0) == CommittedOffset(2, "held")

    def test_the_end_is_reached_and_nothing_lags_although_markers_are_left(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 5)
        kafka.leave_markers(0)
        reader = kafka.process().join(0)
        assert not reader.source.at_end(0)
        reader.start()
        assert not reader.source.at_end(0)
        reader.read(5)
        reader.polls_until(lambda: reader.source.at_end(0))
        reader.polls_until(lambda: reader.source.lag() == {0: 0})

    def test_the_end_moves_when_more_comes_or_it_is_read_again(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 10)
        reader = kafka.process().join(0).start()
        for _ in range(3):
            reader.read(10)
            reader.polls_until(lambda: reader.source.at_end(0))
            reader.source.start(0, 0)
            assert not reader.source.at_end(0)
        reader.read(10)
        kafka.produce(0, 3)
        reader.read(3)
        reader.polls_until(lambda: reader.source.at_end(0))

    def test_the_lag_of_a_partition_that_is_not_read_grows_with_its_log(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        kafka.produce(0, 30)
        sent = kafka.produce(1, 7)
        reader = kafka.process().join(0, 1)
        reader.source.start(1, sent[3])
        reader.read(4)
        reader.polls_until(lambda: reader.source.lag() == {0: 30, 1: 0})
        reader.source.pause([1])
        kafka.produce(1, 5)
        reader.polls_until(lambda: reader.source.lag() == {0: 30, 1: 5})

    def test_kafka_was_never_silent_for_longer_than_it_was_not_asked(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        reader = kafka.process()
        assert reader.source.silent_s() == float("inf")
        reader.join(0)
        reader.polls_until(lambda: reader.source.lag() == {0: 0})
        assert 0 <= reader.source.silent_s() < 60


class GroupContract:
    """Partitions come and go, and the listener is told from inside `poll`."""

    def test_every_record_of_every_partition_comes_once_and_in_order(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        sent = [kafka.produce(partition, 50) for partition in (0, 1)]
        records = kafka.process().join(0, 1).start().read(100)
        assert [offsets(records, 0), offsets(records, 1)] == sent

    def test_an_assigned_partition_delivers_nothing_before_it_is_started(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        for partition in (0, 1):
            kafka.produce(partition, kafka.many)
        reader = kafka.process().join(0, 1)
        reader.source.resume([0, 1])
        assert [reader.poll() for _ in range(10)] == [[]] * 10
        reader.source.start(1, -1)
        assert offsets(reader.read(kafka.many)) == []

    def test_a_partition_moves_only_after_its_owner_has_committed_what_it_still_had(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(2)
        first = kafka.process().join(0, 1)

        def commit_all(partitions: Collection[int]) -> None:
            for partition in partitions:
                done = first.outbox.commit(moves(partition, 40 + partition, "late"))
                assert isinstance(done, Committed), done

        first.listener.on_revoked = commit_all
        second = kafka.process()
        kafka.until(lambda: _poll_all(first, second) and len(second.listener.owned) == 1)
        (moved,) = second.listener.owned
        assert second.committed(moved) == CommittedOffset(40 + moved, "late")
        assert first.listener.calls == [("assigned", [0, 1]), ("revoked", [moved])]
        assert second.listener.calls == [("assigned", [moved])]
        first.listener.on_revoked = lambda _: None

    def test_of_a_partition_that_has_moved_nothing_more_comes(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(2)
        for partition in (0, 1):
            kafka.produce(partition, kafka.many)
        first = kafka.process().join(0, 1).start()
        second = kafka.process()
        while len(first.listener.owned) == 2:
            records = first.poll(50)
            second.poll(50)
            assert {record.partition() for record in records} <= first.listener.owned

    def test_a_member_that_is_given_no_partition_has_joined_all_the_same(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        first = kafka.process()
        assert not first.source.joined()
        first.join(0)
        second = kafka.process()
        kafka.until(lambda: _poll_all(first, second) and second.source.joined())
        assert not second.listener.owned or not first.listener.owned

    def test_leaving_tells_of_what_is_still_held_and_hands_it_over(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        first = kafka.process().join(0)
        first.source.close()
        assert first.listener.calls == [("assigned", [0]), ("revoked", [0])]
        kafka.process().join(0, within_s=HANDED_OVER_WITHIN_S)

    def test_what_is_committed_while_leaving_is_kept(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(2)
        first = kafka.process().join(0, 1)
        second = kafka.process()
        kafka.until(
            lambda: (
                _poll_all(first, second)
                and len(second.listener.owned) == len(first.listener.owned) == 1
            )
        )
        for _ in range(10):
            _poll_all(first, second)
        (mine,) = first.listener.owned
        results: list[object] = []
        first.listener.on_revoked = lambda _: results.append(first.outbox.commit(moves(mine, 9)))
        first.source.close()
        assert results == [Committed({mine: 1})]
        second.polls_until(lambda: second.owns(0, 1))
        assert second.committed(mine) == CommittedOffset(9, "mark")

    def test_rejoining_tells_of_no_loss_and_gets_partitions_anew(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        kafka.produce(0, 5)
        reader = kafka.process().join(0).start()
        reader.read(5)
        reader.rejoin()
        assert not reader.source.joined()
        reader.polls_until(lambda: reader.owns(0))
        assert reader.listener.calls == [("assigned", [0]), ("assigned", [0])]
        assert [reader.poll() for _ in range(5)] == [[]] * 5, "not started since"
        assert isinstance(reader.outbox.commit(moves(0, 5)), Committed)

    def test_a_member_that_was_thrown_out_is_told_that_it_lost_its_partitions(
        self, kafka_with: KafkaWith
    ) -> None:
        kafka = kafka_with(1)
        reader = kafka.process(hasty=True).join(0)
        kafka.throw_out(reader)
        reader.polls_until(lambda: ("lost", [0]) in reader.listener.calls)
        reader.polls_until(lambda: reader.owns(0))
        assert isinstance(reader.outbox.commit(moves(0, 1)), Committed)

    def test_what_a_listener_raises_comes_out_of_poll(self, kafka_with: KafkaWith) -> None:
        kafka = kafka_with(1)
        reader = kafka.process()

        def fail(_: Collection[int]) -> None:
            raise StopProcessing("as the listener said")

        reader.listener.on_assigned = fail
        with pytest.raises(StopProcessing, match="as the listener said"):
            reader.polls_until(lambda: False)


def _poll_all(*processes: Process) -> bool:
    for each in processes:
        each.poll()
    return True

"""Plans -> the one Kafka transaction that makes them durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from processor.core.plan import Plan
from processor.ports import DeadLetter, Position, RawRecord, Transaction


def build(
    positions: Mapping[int, Position],
    batches: Mapping[int, Sequence[RawRecord]],
    plans: Mapping[int, Plan],
    mark: Callable[[int, int, int], str],
) -> Transaction:
    """Every partition that is written for carries its position, even an unchanged one: that is
    what fences a member whose partitions have moved.
    """
    transaction = Transaction()
    for partition, decided in plans.items():
        batch = batches[partition]
        last = batch[-1].offset() if batch else None
        offset = positions[partition].offset if last is None else last + 1
        position = Position(offset, decided.stream_time)
        transaction.positions[partition] = position
        transaction.marks[partition] = mark(partition, *position)
        transaction.statuses[partition] = [
            change.new for change in decided.changes.values() if change.new is not None
        ]
        transaction.tombstones[partition] = [state.message_id for state in decided.tombstones]
        transaction.dead_letters += _dead_letters(partition, batch, decided)
    return transaction


def _dead_letters(partition: int, batch: Sequence[RawRecord], decided: Plan) -> list[DeadLetter]:
    letters = [
        DeadLetter(stage, why.reason, why.detail, partition, record=batch[index])
        for stage, rejected in (("decode", decided.rejected), ("collapse", decided.too_late))
        for index, why in rejected
    ]
    letters += [
        DeadLetter("salesforce", settlement.reason, "", partition, state=state)
        for state, settlement in decided.refused
    ]
    return letters

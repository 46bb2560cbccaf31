"""What one transaction carries, for partition 3 (read up to offset 40) and, beside it, 8."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import pytest

from processor.core.events import Change, MessageState, Outcome, Settlement
from processor.core.plan import Plan
from processor.errors import Rejection
from processor.ports import DeadLetter, Position, Transaction
from processor.worker import transaction as right
from tests.kafka.avro.avro_kit import Record
from tests.support.mutants import Mutant
from tests.support.states import NOW, settled, state


class At(Record):
    """An event of which only the offset matters."""

    def offset(self) -> int | None:
        return self.time


def at(*offsets: int) -> list[At]:
    return [At(None, offset) for offset in offsets]


class Row(NamedTuple):
    """`look` at a transaction with this batch and plan of partition 3, and see this."""

    name: str
    offsets: tuple[int, ...]
    plan: Plan
    look: Callable[[Transaction], object]
    seen: object


def status(message_id: str, version: int) -> MessageState:
    return state(message_id, version=version)


BEFORE: Final = {3: Position(40, NOW - 9), 8: Position(70, NOW - 9)}
BESIDE: Final = Plan(rejected=[(0, Rejection("bad_code", "x"))], stream_time=NOW + 8)
LETTER_BESIDE: Final = DeadLetter("decode", "bad_code", "x", 8, record=At(None, 70))
REFUSAL: Final = Settlement("m", 2, 200, NOW, Outcome.REJECTED, "ENTITY_IS_DELETED")
REJECTED: Final = Plan(rejected=[(1, Rejection("bad_magic", "0xff"))])
TOO_LATE: Final = Plan(too_late=[(2, Rejection("too_late", "old"))])
REFUSED: Final = Plan(refused=[(status("m", 2), REFUSAL)])
CHANGED: Final = Plan(
    changes={
        "n": Change(None, status("n", 1)),
        "m": Change(status("m", 1), status("m", 2)),
    },
    stream_time=NOW,
)
EXPIRED: Final = Plan(tombstones=[settled("o")])
READ: Final = (41, 44, 60)

ROWS: Final = [
    Row("nothing read, position", (), Plan(), lambda t: t.positions[3], Position(40, 0)),
    Row("nothing read, mark", (), Plan(stream_time=NOW), lambda t: t.marks[3], f"3 at 40, {NOW}"),
    Row("nothing read, statuses", (), CHANGED, lambda t: len(t.statuses[3]), 2),
    Row("records, offset", READ, Plan(), lambda t: t.positions[3].offset, 61),
    Row("one record at the very beginning", (0,), Plan(), lambda t: t.positions[3].offset, 1),
    Row("records, stream time", READ, CHANGED, lambda t: t.positions[3].stream_time, NOW),
    Row("records, mark", READ, CHANGED, lambda t: t.marks[3], f"3 at 61, {NOW}"),
    Row("the partition beside, position", READ, Plan(), lambda t: t.positions[8], (71, NOW + 8)),
    Row("the partition beside, mark", READ, Plan(), lambda t: t.marks[8], f"8 at 71, {NOW + 8}"),
    Row("statuses", READ, CHANGED, lambda t: t.statuses[3], [status("n", 1), status("m", 2)]),
    Row("statuses of the partition beside", READ, CHANGED, lambda t: t.statuses[8], []),
    Row("tombstones", (), EXPIRED, lambda t: t.tombstones, {3: ["o"], 8: []}),
    Row(
        "an event that can't be decoded", READ, REJECTED, lambda t: t.dead_letters[0],
        DeadLetter("decode", "bad_magic", "0xff", 3, record=At(None, 44)),
    ),
    Row(
        "an event that comes too late", READ, TOO_LATE, lambda t: t.dead_letters[0],
        DeadLetter("collapse", "too_late", "old", 3, record=At(None, 60)),
    ),
    Row(
        "a row that was refused", READ, REFUSED, lambda t: t.dead_letters[0],
        DeadLetter("salesforce", "ENTITY_IS_DELETED", "", 3, state=status("m", 2)),
    ),
    Row("a refused row and no record", (), REFUSED, lambda t: len(t.dead_letters), 2),
    Row("letters of two partitions", READ, REJECTED, lambda t: t.dead_letters[1:], [LETTER_BESIDE]),
    Row("no letter of good events", READ, CHANGED, lambda t: t.dead_letters, [LETTER_BESIDE]),
]  # fmt: skip


def mark(partition: int, offset: int, stream_time: int) -> str:
    return f"{partition} at {offset}, {stream_time}"


def is_right(row: Row, rule: Any) -> bool:
    batches = {3: at(*row.offsets), 8: at(70)}
    built = rule.build(BEFORE, batches, {3: row.plan, 8: BESIDE}, mark)
    try:
        return row.look(built) == row.seen
    except LookupError:  # there is nothing to look at
        return False


def failing(rule: Any) -> Iterable[str]:
    return (row.name for row in ROWS if not is_right(row, rule))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_transaction_carries(row: Row) -> None:
    assert is_right(row, right)


POSITION: Final = "transaction.positions[partition] = position"
LETTERS: Final = '(("decode", decided.rejected), ("collapse", decided.too_late))'

MUTANTS: Final = [
    Mutant("a position that did not move is left out", POSITION,
           f"if batch:\n            {POSITION}", "nothing read, position"),
    Mutant("the last record is read again", "last + 1", "last", "records, offset"),
    Mutant("the first record is the last", "batch[-1]", "batch[0]", "records, offset"),
    Mutant("offset 0 is none", "if last is None", "if not last",
           "one record at the very beginning"),
    Mutant("stream time stands still", "Position(offset, decided.stream_time)",
           "Position(offset, positions[partition].stream_time)", "records, stream time"),
    Mutant("a mark is of the position before", "mark(partition, *position)",
           "mark(partition, *positions[partition])", "records, mark"),
    Mutant("no mark where nothing was read", "transaction.marks[partition] =",
           "if batch:\n            transaction.marks[partition] =", "nothing read, mark"),
    Mutant("statuses as they were", "change.new for change in",
           "change.old or change.new for change in", "statuses"),
    Mutant("no statuses where nothing was read", "if change.new is not None",
           "if change.new is not None and batch", "nothing read, statuses"),
    Mutant("nothing is ever forgotten", "for state in decided.tombstones]", "for state in ()]",
           "tombstones"),
    Mutant("letters of the last partition alone", "transaction.dead_letters += ",
           "transaction.dead_letters = ", "an event that can't be decoded"),
    Mutant("what is too late vanishes", LETTERS, '(("decode", decided.rejected),)',
           "an event that comes too late"),
    Mutant("what can't be decoded vanishes", LETTERS, '(("collapse", decided.too_late),)',
           "an event that can't be decoded"),
    Mutant("stages are mixed up", LETTERS,
           '(("collapse", decided.rejected), ("decode", decided.too_late))',
           "an event that comes too late"),
    Mutant("a letter holds the batch's first record", "record=batch[index]", "record=batch[0]",
           "an event that can't be decoded"),
    Mutant("a letter does not say more", "why.detail", '""', "an event that comes too late"),
    Mutant("a refused row has no letter", "letters += [", "_ = [", "a refused row and no record"),
    Mutant("a refused row's letter is empty", ", state=state)", ")", "a row that was refused"),
    Mutant("a refused row's letter gives no code", "settlement.reason", '""',
           "a row that was refused"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_row(wrong: Mutant) -> None:
    assert wrong.row in list(failing(wrong.of(right)))

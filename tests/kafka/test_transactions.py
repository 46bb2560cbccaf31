"""The fence, sentence by sentence, on an in-memory Kafka; and the rules that would be wrong.

`tests/integration/test_fence.py` shows on the real one that each sentence is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

import pytest

from processor.errors import ProcessorError, StopProcessing, Unavailable
from processor.kafka import transactions as right
from processor.kafka.client.producer import Dead, FencedOff, Moving, MustAbort
from processor.kafka.group.rivals import FEW, QUICK_S, Rivals
from processor.ports import Aborted, Committed, CommittedOffset, Fenced
from tests.support.clocks import HandTurnedClock
from tests.support.fenced_kafka import FencedKafka, FencedProducer
from tests.support.mutants import Mutant

READ: Final = {0: 5}
WHOLE: Final = "begin produce offsets commit"
OPENED: Final = f"open {WHOLE}"

NO_MEMBER: Final = "unavailable: we are no member of the group now"
NO_TIME: Final = "unavailable: no producer, and no time for a new one"
RIVALS: Final = "unavailable: it was fenced again and again"
BARE: Final = "bug: a transaction without the positions of partitions [0]"
FOREIGN: Final = "bug: a transaction for partitions [2], not ours"


class Row(NamedTuple):
    """What becomes of transactions that follow one another, each of one record with its number.

    `calls` are those to the producers, a failing one with a `!`; `visible` the records that can be
    read afterwards, and `offsets` those that the group has then. `before` is what happens before
    the transaction of that number.
    """

    name: str
    becomes: tuple[str, ...]
    calls: str
    visible: str = ""
    offsets: Mapping[int, int] = {}
    positions: Mapping[int, int] = READ
    written: tuple[int, ...] = (0,)
    faults: Mapping[str, tuple[ProcessorError, ...]] = {}
    before: Mapping[int, Callable[[Any], None]] = {}


class Process:
    """One process and its transactions, by the right rules or by wrong ones."""

    def __init__(self, rules: Any, faults: Mapping[str, tuple[ProcessorError, ...]]) -> None:
        self.kafka = FencedKafka(faults)
        self.clock = HandTurnedClock()
        self.transactions = rules.Transactions(
            self.kafka,
            "events",
            self.kafka.beginning,
            partial(FencedProducer, self.kafka),
            Rivals(None, self.clock.monotonic_s, Random(1)),
        )

    def commit(self, record: str, positions: Mapping[int, int], written: tuple[int, ...]) -> str:
        def write(producer: right.Producer) -> Committed:
            producer.produce("status", record, b"", [])
            return Committed({0: 1})

        places = {p: CommittedOffset(offset, f"mark {p}") for p, offset in positions.items()}
        try:
            outcome = self.transactions.commit(places, written, write)
        except Unavailable as error:
            return f"unavailable: {error}"
        except StopProcessing as error:
            return f"stop: {error}"
        except RuntimeError as error:
            return f"bug: {error}"
        match outcome:
            case Committed(checkpoints):
                return f"committed {checkpoints}"
            case Aborted(why, moving):
                return f"{'moving' if moving else 'aborted'}: {why}"
            case Fenced(why):
                return f"fenced: {why}"
        raise AssertionError(outcome)


def no_member(process: Process) -> None:
    process.kafka.told = None


def taken_over(process: Process) -> None:
    """The group has thrown us out, and we have not heard of it."""
    process.kafka.current = b"m2"


def succeeded(process: Process) -> None:
    """Another process has opened a producer of our id."""
    process.kafka.epoch += 1


def leaving(process: Process) -> None:
    process.transactions.hurry(5.0)


def renewed(process: Process) -> None:
    process.transactions.renew()


def silent(process: Process) -> None:
    process.kafka.beginnings.clear()


def later(process: Process) -> None:
    process.clock.seconds += QUICK_S


def lived_long(process: Process) -> None:
    renewed(process)
    later(process)


DONE: Final = "committed {0: 1}"
ABORT: Final = MustAbort("as told")
MOVING: Final = Moving("ILLEGAL_GENERATION")
UNKNOWN: Final = Dead("no answer")
OFF: Final = FencedOff("_FENCED")
TOO_LARGE: Final = StopProcessing("too large")
AWAY: Final = Unavailable("no transactions")

ROWS: Final = [
    # -- what is committed
    Row("a position and what is written for it", (DONE,), OPENED, "1", {0: 5}),
    Row("one after the other", (DONE, DONE), f"{OPENED} {WHOLE}", "1 2", {0: 5}),
    Row("a partition that nothing is written for", (DONE,), OPENED, "1", {0: 5, 1: 7},
        positions={0: 5, 1: 7}),
    Row("positions alone", (DONE,), OPENED, "1", {0: 5}, written=()),
    Row("a partition that was never read stands at its beginning", (DONE,), OPENED, "1", {0: 30},
        positions={0: -1}),
    Row("nothing at all", ("committed {}",), "", positions={}, written=(), before={1: no_member}),
    # -- what is not begun
    Row("no member", (NO_MEMBER,), "", before={1: no_member}),
    Row("no member any more", (DONE, NO_MEMBER), OPENED, "1", {0: 5}, before={2: no_member}),
    Row("written without a position", (BARE,), "", positions={1: 7}),
    Row("written without any position", (BARE,), "", positions={}),
    Row("not ours", (FOREIGN,), "", positions={0: 5, 2: 1}),
    Row("not ours, and written", (FOREIGN,), "", positions={0: 5, 2: 1}, written=(2,)),
    Row("its beginning is not told", ("unavailable: events does not tell where it begins",),
        "open", positions={0: -1}, before={1: silent}),
    # -- the fence
    Row("an unchanged position is sent", (DONE, "moving: UNKNOWN_MEMBER_ID"),
        f"{OPENED} begin produce offsets abort", "1", {0: 5}, before={2: taken_over}),
    Row("an unknown position is sent", ("moving: UNKNOWN_MEMBER_ID",),
        "open begin produce offsets abort", positions={0: -1}, before={1: taken_over}),
    Row("an earlier process of the same id", (DONE, "fenced: _FENCED"), f"{OPENED} {WHOLE} discard",
        "1", {0: 5}, before={2: succeeded}),
    # -- aborted
    Row("told to abort", ("aborted: as told", DONE), f"open begin produce offsets! abort {WHOLE}",
        "2", {0: 5}, faults={"offsets": (ABORT,)}),
    Row("aborted at the commit", ("aborted: as told", DONE), f"{OPENED}! abort {WHOLE}",
        "2", {0: 5}, faults={"commit": (ABORT,)}),
    Row("the group is moving partitions", ("moving: ILLEGAL_GENERATION", DONE),
        f"{OPENED}! abort {WHOLE}", "2", {0: 5}, faults={"commit": (MOVING,)}),
    Row("a record is refused", ("stop: too large", DONE), f"open begin produce! abort {WHOLE}",
        "2", {0: 5}, faults={"produce": (TOO_LARGE,)}),
    Row("a record is refused at the commit", ("stop: too large",), f"{OPENED}! abort",
        faults={"commit": (TOO_LARGE,)}),
    # -- nobody knows
    Row("the abort fails", ("fenced: as told; then no answer", DONE),
        f"{OPENED}! abort! discard {OPENED}", "2", {0: 5},
        faults={"commit": (ABORT,), "abort": (UNKNOWN,)}),
    Row("the abort fails after a refusal", ("stop: too large", DONE),
        f"open begin produce! abort! discard {OPENED}", "2", {0: 5},
        faults={"produce": (TOO_LARGE,), "abort": (UNKNOWN,)}),
    Row("the commit's outcome is unknown", ("fenced: no answer", DONE),
        f"{OPENED}! discard {OPENED}", "2", {0: 5}, faults={"commit": (UNKNOWN,)}),
    Row("it outlived its own timeout", ("fenced: _FENCED", DONE),
        f"open begin produce! discard {OPENED}", "2", {0: 5}, faults={"produce": (OFF,)}),
    Row("it can't begin", ("fenced: no answer", DONE), f"open begin! discard {OPENED}",
        "2", {0: 5}, faults={"begin": (UNKNOWN,)}),
    # -- the producer's life
    Row("no producer can be had", ("unavailable: no transactions", DONE),
        f"open! discard {OPENED}", "2", {0: 5}, faults={"open": (AWAY,)}),
    Row("a new one in its place", (DONE, DONE), f"{OPENED} discard {OPENED}",
        "1 2", {0: 5}, before={2: renewed}),
    Row("leaving, without a producer", (NO_TIME,), "", before={1: leaving}),
    Row("leaving, with one", (DONE, DONE), f"{OPENED} {WHOLE}", "1 2", {0: 5},
        before={2: leaving}),
    Row("leaving, after it was fenced", ("fenced: no answer", NO_TIME), f"{OPENED}! discard",
        faults={"commit": (UNKNOWN,)}, before={2: leaving}),
    Row("fenced twice in a row", ("fenced: _FENCED", "fenced: _FENCED", RIVALS, DONE),
        f"{OPENED}! discard {OPENED}! discard {OPENED}", "4", {0: 5},
        faults={"commit": (OFF, OFF)}, before={4: later}),
    Row("fenced now and then", ("fenced: _FENCED", "fenced: _FENCED", DONE),
        f"{OPENED}! discard {OPENED}! discard {OPENED}", "3", {0: 5},
        faults={"commit": (OFF, OFF)}, before={2: lived_long}),
    Row("no answer, again and again", (*["fenced: no answer"] * FEW, DONE),
        " ".join([f"{OPENED}! discard"] * FEW + [OPENED]), "4", {0: 5},
        faults={"commit": (UNKNOWN,) * FEW}),
]  # fmt: skip


def is_right(row: Row, rules: Any) -> bool:
    """Whether the transactions go as the row says."""
    process = Process(rules, row.faults)
    becomes = []
    try:
        for number, _ in enumerate(row.becomes, 1):
            row.before.get(number, lambda _: None)(process)
            becomes.append(process.commit(str(number), row.positions, row.written))
    except AssertionError:  # the fake's: a producer is not used so
        return False
    kafka = process.kafka
    return (
        becomes == list(row.becomes)
        and kafka.calls == row.calls.split()
        and kafka.records == row.visible.split()
        and kafka.offsets == {p: (offset, f"mark {p}") for p, offset in row.offsets.items()}
    )


def failing(rules: Any) -> Iterator[str]:
    """The rows that do not hold under such rules."""
    return (row.name for row in ROWS if not is_right(row, rules))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_transactions_go_as_the_fence_says(row: Row) -> None:
    assert is_right(row, right)


def test_a_producer_learns_that_we_are_in_a_hurry_also_while_it_works() -> None:
    process = Process(right, {})
    renewed(process)
    producer = process.transactions._producer
    assert producer.until_s() == float("inf")
    leaving(process)
    assert time.monotonic() < producer.until_s() <= time.monotonic() + 5.0


def test_after_having_been_fenced_again_and_again_it_says_how_long_to_wait() -> None:
    process = Process(right, {"commit": (OFF, OFF)})
    for number in "12":
        process.commit(number, READ, (0,))
    with pytest.raises(Unavailable) as told:
        renewed(process)
    assert told.value.retry_after_s == process.transactions._rivals.wait_s() > 1.0


# -- the rules that would be wrong -----------------------------------------------------------


MEMBER: Final = 'raise Unavailable("we are no member of the group now")'
SENT: Final = "            producer.send_offsets(places, member)\n"
COMMIT: Final = "            producer.commit()\n"
PLACES: Final = "        places = self._places(positions)\n"
AT: Final = "at.offset if at.offset >= 0 else self._beginning(self._topic, partition)"
MOVED: Final = "{p: at for p, at in positions.items() if at != getattr(self, '_last', {}).get(p)})"
FENCED: Final = "            self.discard()\n            return Fenced(str(error))"
FLAG: Final = "moving=isinstance(error, Moving)"
NOT_ABORTED: Final = 'self.discard()\n            return Fenced(f"{why}; then {error}")'
REFUSED: Final = 'self._abort(producer, "a record was refused", moving=False)\n            raise'
LET_GO: Final = "            self._producer.discard()\n            self._producer = None"
OPEN: Final = "        self.discard()\n        if wait_s"
RIVAL: Final = "if isinstance(error, FencedOff):"

MUTANTS: Final = [
    Mutant("no member is named", MEMBER, 'member = b""', "no member"),
    Mutant("a known member is kept", "member = self._group.member()",
           "member = self._member = self._group.member() or getattr(self, '_member', None)",
           "no member any more"),
    Mutant("positions may be missing", "set(written) - positions.keys()", "set[int]()",
           "written without a position"),
    Mutant("nothing needs no position", "        self._require_sound(positions, written)\n"
           "        if not positions:\n            return Committed({})\n",
           "        if not positions:\n            return Committed({})\n"
           "        self._require_sound(positions, written)\n", "written without any position"),
    Mutant("what is not ours goes with the rest", "positions.keys() - set(self._group.assigned())",
           "set[int]()", "not ours"),
    Mutant("nothing needs a member", "if not positions:", "if False:", "nothing at all"),
    Mutant("no offsets are sent", SENT, "", "an unchanged position is sent"),
    Mutant("offsets after the commit", SENT + COMMIT, COMMIT + SENT,
           "a position and what is written for it"),
    Mutant("only what is written for has a position", PLACES,
           PLACES.replace("positions)", "{p: positions[p] for p in written})"),
           "a partition that nothing is written for"),
    Mutant("only what has moved is sent", PLACES, PLACES.replace("positions)", MOVED)
           + "        self._last = dict(positions)\n", "an unchanged position is sent"),
    Mutant("an unknown position is sent as it is", AT, "at.offset", "an unknown position is sent"),
    Mutant("a partition begins at 0", AT, "max(at.offset, 0)",
           "a partition that was never read stands at its beginning"),
    Mutant("asked for the beginning in a transaction",
           PLACES + "        try:\n            producer.begin()\n",
           "        try:\n            producer.begin()\n    " + PLACES,
           "its beginning is not told"),
    Mutant("a position without its mark", "at.metadata,", '"",',
           "a position and what is written for it"),
    Mutant("it is never committed", COMMIT, "", "a position and what is written for it"),
    Mutant("moving counts as a fault", FLAG, "moving=False", "the group is moving partitions"),
    Mutant("every abort counts as moving", FLAG, "moving=True", "told to abort"),
    Mutant("nothing is aborted", "producer.abort()", "pass", "told to abort"),
    Mutant("a refused record leaves it open", REFUSED, "raise", "a record is refused"),
    Mutant("a refused record is an abort", REFUSED, "return " + REFUSED.rpartition("\n")[0],
           "a record is refused"),
    Mutant("an unknown outcome counts as aborted", FENCED, "            return self._abort("
           "producer, str(error), moving=False)", "the commit's outcome is unknown"),
    Mutant("an unknown outcome counts as committed", FENCED,
           "            self.discard()\n            return Committed({0: 1})",
           "the commit's outcome is unknown"),
    Mutant("a fenced producer is kept", FENCED, "            return Fenced(str(error))",
           "it outlived its own timeout"),
    Mutant("a discarded producer is used again", LET_GO, LET_GO.partition("\n")[0],
           "the commit's outcome is unknown"),
    Mutant("a failed abort counts as aborted", NOT_ABORTED,
           "self.discard()\n            return Aborted(why, moving)", "the abort fails"),
    Mutant("after a failed abort it goes on", NOT_ABORTED, NOT_ABORTED.partition("\n")[2].strip(),
           "the abort fails after a refusal"),
    Mutant("one that can't open is not let go", "            producer.discard()\n            raise",
           "            raise", "no producer can be had"),
    Mutant("two producers at a time", OPEN, OPEN.partition("\n")[2], "a new one in its place"),
    Mutant("a hurry is nothing to it", 'self._until_s < float("inf")', "False",
           "leaving, without a producer"),
    Mutant("in a hurry nothing is written", 'self._producer is None and self._until_s < float',
           'self._until_s < float', "leaving, with one"),
    Mutant("a rival is not told of", RIVAL, "if False:", "fenced twice in a row"),
    Mutant("nobody waits for a rival", "if wait_s := self._rivals.wait_s():", "if False:",
           "fenced twice in a row"),
    Mutant("a silent broker is a rival", RIVAL, "if True:", "no answer, again and again"),
    Mutant("every producer has lived for long", "        self._rivals.opened()\n", "",
           "fenced twice in a row"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_row(wrong: Mutant) -> None:
    assert wrong.row in list(failing(wrong.of(right)))


def test_the_right_rules_are_caught_by_no_row() -> None:
    assert list(failing(Mutant("none", FLAG, FLAG, "").of(right))) == []

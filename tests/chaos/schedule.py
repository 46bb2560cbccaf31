"""What goes wrong and when, from a seed: the same seed gives the same schedule.

A round hits each process with something else: one is frozen for longer than its session lasts
(a zombie, when it wakes), one is killed, and cut off from the broker for as long, one is stopped.
Beside that the broker is restarted, the org is down for a while, and answers badly in all the ways
it can.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from processor.sandbox.org.server import Fault, FaultKind, RequestKind
from tests.integration.stage import SESSION_TIMEOUT_S, UNKNOWN_AFTER_S

ROUND_S = 40.0
NAMES = ("one", "two", "three")
LATE_S = (1.0, UNKNOWN_AFTER_S - 1.0)  # later than that, nobody looks any more

UNTIL_MET_S = 15.0  # faults that wait for a request wait so long


class What(StrEnum):
    START = "start"
    FREEZE = "freeze"
    THAW = "thaw"
    CUT = "cut off"
    HEAL = "heal"
    KILL = "kill"
    LOSE_STORE = "lose_store"
    TERM = "term"
    BROKER_STOP = "broker_stop"
    BROKER_KILL = "broker_kill"
    ORG_STOP = "org_stop"
    ORG_START = "org_start"
    FAULT = "fault"


class Deed(NamedTuple):
    """At `at_s` after the beginning; `who` is a process, `fault` what the org is told to do."""

    at_s: float
    what: What
    who: str = ""
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.who}{self.fault.kind if self.fault else ''}"


def schedule(seed: int, seconds: float) -> list[Deed]:
    """From one process to three and, in the end, to one that has everything to finish."""
    rng = random.Random(seed)
    deeds = [
        Deed(0.0, What.START, "one"),
        Deed(rng.uniform(2, 4), What.START, "two"),
        Deed(rng.uniform(2, 6), What.START, "three"),
    ]
    rounds = max(1, round(seconds / ROUND_S))
    for number in range(rounds):
        deeds += _round(rng, number * ROUND_S)
    left = rng.choice(NAMES)
    end_s = rounds * ROUND_S + 1
    deeds += [Deed(end_s, What.TERM, name) for name in NAMES if name != left]
    deeds.append(Deed(end_s, What.ORG_START))
    return sorted(deeds, key=lambda deed: deed.at_s)


def _round(rng: random.Random, begin_s: float) -> Iterator[Deed]:
    frozen, killed, stopped = rng.sample(NAMES, 3)
    at_s = begin_s + rng.uniform(6.5, 11)
    yield Deed(at_s, What.FREEZE, frozen)
    yield Deed(at_s + SESSION_TIMEOUT_S + rng.uniform(3, 6), What.THAW, frozen)

    at_s = begin_s + rng.uniform(7, 12)
    yield Deed(at_s, What.CUT, killed)
    yield Deed(at_s + SESSION_TIMEOUT_S + rng.uniform(3, 6), What.HEAL, killed)

    at_s = begin_s + rng.uniform(7, 34)
    yield Deed(at_s, What.KILL, killed)
    if rng.random() < 0.5:
        yield Deed(at_s + 0.1, What.LOSE_STORE, killed)
    yield Deed(at_s + rng.uniform(0.2, 4), What.START, killed)

    at_s = begin_s + rng.uniform(8, 26)
    yield Deed(at_s, What.TERM, stopped)
    yield Deed(at_s + rng.uniform(2, 8), What.START, stopped)

    broker = rng.choice((What.BROKER_STOP, What.BROKER_KILL))
    yield Deed(begin_s + rng.uniform(14, 34), broker)

    at_s = begin_s + rng.uniform(8, 30)
    yield Deed(at_s, What.ORG_STOP)
    yield Deed(at_s + rng.uniform(1, 5), What.ORG_START)
    for place in range(7):
        yield Deed(begin_s + 4 + 5 * place + rng.uniform(0, 4), What.FAULT, "", _fault(rng))


def _fault(rng: random.Random) -> Fault:
    update = RequestKind.COLLECTIONS_UPDATE
    spell = rng.uniform(1, 4)
    seed = rng.randrange(10**6)
    late = rng.uniform(*LATE_S)
    return rng.choice(
        (
            Fault(FaultKind.LOCK, duration_s=spell, probability=0.2, seed=seed),
            Fault(FaultKind.UNAVAILABLE, duration_s=spell),
            Fault(FaultKind.HTML, duration_s=UNTIL_MET_S, count=2),
            Fault(FaultKind.SESSION, duration_s=UNTIL_MET_S, count=2),
            Fault(FaultKind.RESET_BEFORE, duration_s=UNTIL_MET_S, count=3),
            Fault(FaultKind.RESET_AFTER, duration_s=UNTIL_MET_S, count=3),
            Fault(FaultKind.TRUNCATED, duration_s=UNTIL_MET_S, count=3),
            Fault(FaultKind.SLOW, duration_s=spell, delay_s=rng.uniform(0.2, 2)),
            Fault(
                FaultKind.LATE,
                duration_s=UNTIL_MET_S,
                count=2,
                delay_s=late,
                drop=True,
                request=update,
            ),
            Fault(
                FaultKind.LATE,
                duration_s=UNTIL_MET_S,
                count=2,
                delay_s=late,
                drop=True,
                request=update,
            ),
            Fault(FaultKind.LATE, duration_s=UNTIL_MET_S, count=1, delay_s=late, request=update),
        )
    )

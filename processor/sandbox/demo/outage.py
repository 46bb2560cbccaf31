"""What goes wrong with the demo's org: it is down for a while, then a few single faults."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from processor.sandbox.org.faults import Fault, FaultKind, RequestKind

BEGIN: Final = 0.35  # of the reports
WAIT: Final = 0.5  # of the reports; the others come when the org is down
HOLD: Final = 0.8  # of the reports; the others come when the org has taken rows again
MIN_S: Final = 3.0
MAX_S: Final = 20.0
RECOVERY_MAX_S: Final = 30.0
MIN_REQUESTS: Final = 2


@dataclass(frozen=True, slots=True)
class OrgDown:
    """How long the org was down, how many requests met it, and how many reports were consumed
    meanwhile. `owed`: rows that Salesforce had yet to confirm when it came back.
    """

    seconds: float
    requests: int
    events: int
    owed: int


class Org(Protocol):
    """What can be done to it."""

    def inject(self, *faults: Fault) -> None: ...
    def clear_faults(self) -> None: ...
    def stats(self) -> dict[str, object]: ...


class Phase(Enum):
    """In this order."""

    UP = auto()
    DOWN = auto()
    RECOVERING = auto()
    OVER = auto()


class Outage:
    """Takes the org down once: logins and all.

    When it begins and ends is for the run's progress to say and not for a clock, so that it is
    met on any machine: it lasts until `MIN_REQUESTS` requests have met it, rows are owed and
    reports were consumed, for `MIN_S` at least, and `MAX_S` at most. It begins once some rows were
    written. One thread looks, another may ask whether a report is to be held back.
    """

    def __init__(self, org: Org, events: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._org = org
        self._now_s = now_s
        self._begin_at = max(1, int(events * BEGIN))
        self._wait_at = max(1, int(events * WAIT))
        self._hold_at = max(1, int(events * HOLD))
        self._since_s = now_s()
        self._consumed = self._rows = 0
        self.phase = Phase.UP
        self.result: OrgDown | None = None

    def holds(self, number: int) -> bool:
        """Whether the report with this number, from 0, has to wait."""
        if self.phase is Phase.UP:
            return number >= self._wait_at
        return self.phase is not Phase.OVER and number >= self._hold_at

    def look(self, *, sent: int, consumed: int, owed: int, rows: int) -> None:
        """Begin or end it, where it is time to. `rows`: that the org has looked at."""
        seconds = self._now_s() - self._since_s
        match self.phase:
            case Phase.UP if sent >= self._begin_at and (rows or seconds >= MAX_S):
                self._consumed = consumed
                self._org.inject(
                    Fault(FaultKind.UNAVAILABLE, duration_s=2 * MAX_S),
                    Fault(FaultKind.UNAVAILABLE, duration_s=2 * MAX_S, request=RequestKind.TOKEN),
                )
                self._enter(Phase.DOWN)
            case Phase.DOWN:
                requests, events = self._met(), consumed - self._consumed
                is_seen = requests >= MIN_REQUESTS and events > 0 and owed > 0
                if (is_seen and seconds >= MIN_S) or seconds >= MAX_S:
                    self._org.clear_faults()
                    self.result = OrgDown(round(seconds, 1), requests, events, owed)
                    self._rows = rows
                    self._enter(Phase.RECOVERING)
            case Phase.RECOVERING if rows > self._rows or seconds >= RECOVERY_MAX_S:
                self._enter(Phase.OVER)

    def _enter(self, phase: Phase) -> None:
        self.phase, self._since_s = phase, self._now_s()

    def _met(self) -> int:
        faults = self._org.stats()["faults"]
        assert isinstance(faults, dict)
        return int(faults.get(FaultKind.UNAVAILABLE, 0))


def single_faults(seed: int, events: int) -> list[tuple[int, list[Fault]]]:
    """After how many reports the org fails once more, and how; each after the outage."""
    rng = random.Random(seed)
    spells = [
        [Fault(FaultKind.LOCK, count=2, probability=0.02, seed=seed)],
        [
            Fault(FaultKind.RESET_AFTER, count=1, request=RequestKind.COLLECTIONS_UPDATE),
            Fault(FaultKind.RESET_AFTER, count=1, request=RequestKind.COMPOSITE),
        ],
        [Fault(FaultKind.SESSION, count=1)],
        [Fault(FaultKind.HTML, count=1)],
    ]
    rng.shuffle(spells)
    share = (1 - HOLD) / len(spells)
    return [
        (int(events * (HOLD + share * (place + rng.random()))), faults)
        for place, faults in enumerate(spells)
    ]

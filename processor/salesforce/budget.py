"""How much the org lets us do: its API calls, its pauses, and how many rows a request may have.

No locks here: the writer calls `Gate` and `RequestSize` under its own; `ApiUsage` is replaced as
a whole, which Python does at once.
"""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from typing import Final, NamedTuple

from processor.salesforce.collections import MAX_PARTS_PER_COMPOSITE, MAX_ROWS_PER_REQUEST
from processor.salesforce.verdicts import Pause

_USAGE: Final = re.compile(r"(?:^|[\s;,])api-usage=(\d{1,15})/(\d{1,15})")

# Seconds that a pause lasts at first, and at most: doubled with each failure of its own kind. What
# each fault may cost after it is over is in docs/recovery.md.
PAUSES_S: Final = {
    Pause.OUTAGE: (1.0, 60.0),
    Pause.MOVED: (1.0, 60.0),
    # Too many requests of 20 s and more at once: it is over as soon as one of them ends.
    Pause.CONCURRENT_LIMIT: (2.0, 30.0),
    # The allocation is counted over the last 24 hours, so some of it comes back all the time;
    # every look costs a call.
    Pause.DAILY_LIMIT: (900.0, 900.0),
    # Somebody has to act first.
    Pause.FAULT: (5.0, 60.0),
}
_JITTER: Final = (0.8, 1.0)
# A lone failure is no reason to doubt the login; an outage of seconds may be an org's move.
_LOGIN_AFTER: Final = {Pause.OUTAGE: 2, Pause.MOVED: 1, Pause.FAULT: 1}

MIN_ROWS_AFTER_LOCKS: Final = 6  # 200 halved five times; then it grows for five minutes
GROW_AFTER_S: Final = 60.0  # without another lock, requests double
# Salesforce counts an Apex transaction of 5 s and more against the org's ten long ones, and beyond
# those it refuses users too (object reference, ConcurrentLongRunApexLimit event log).
REQUEST_TARGET_S: Final = 4.0
SHRINK_AT_MOST_EVERY_S: Final = 5.0  # requests in flight together tell of one crowd, not of two


class ApiUsage(NamedTuple):
    """The whole org's API calls in the last 24 hours, all integrations together."""

    used: int
    limit: int

    @property
    def is_spent(self) -> bool:
        return 0 < self.limit <= self.used


def parse_limit_info(header: str | None) -> ApiUsage | None:
    """`Sforce-Limit-Info: api-usage=18/5000; per-app-api-usage=17/250(appName=x)`."""
    found = _USAGE.search(header or "")
    return ApiUsage(int(found[1]), int(found[2])) if found else None


class Budget:
    """The API calls that the org has left, as far as its answers have told."""

    def __init__(self) -> None:
        self.usage: ApiUsage | None = None
        self._overshoots = False

    def seen(self, usage: ApiUsage | None, *, refused: bool) -> None:
        """What an answer said of the usage, and whether it refused the request (403)."""
        if usage is not None:
            self.usage = usage
            # A paid org may go on above its allocation: then being there explains no refusal.
            if usage.used > usage.limit and not refused:
                self._overshoots = True
            elif usage.used < usage.limit:
                self._overshoots = False
        elif refused:
            self.usage = None

    @property
    def daily_spent(self) -> bool:
        """Whether a limit that was met just now is the day's."""
        return self.usage is not None and self.usage.is_spent and not self._overshoots


class Gate:
    """Open; or closed until a moment, and then ajar: one request probes before all may go.

    A request carries the ticket it was let in with. What it came to counts only if the gate has
    not been closed since: of requests that fail together the first one decides. Failures are
    counted by kind, so that no fault pays for another's length. `login_first`: whoever probes has
    to log in before, because the org may have moved to another host.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._until_s = 0.0
        self._ticket = 0
        self._failures: Counter[Pause] = Counter()
        self._ajar = False
        self._probing = False
        self.login_first = False

    @property
    def is_open(self) -> bool:
        return not self._ajar

    def is_shut(self, now_s: float) -> bool:
        """Whether it is closed, or the answer to its probe is yet to come."""
        return self._probing or now_s < self._until_s

    def closed_for_s(self, now_s: float) -> float:
        """Seconds until a probe may go; 0: the gate is open or ajar."""
        return max(0.0, self._until_s - now_s)

    def admit(self, now_s: float) -> int | None:
        """A ticket for one request, or None."""
        if now_s < self._until_s or self._probing:
            return None
        self._probing = self._ajar
        return self._ticket

    def is_current(self, ticket: int) -> bool:
        """Whether the gate has not been closed since it let this request in."""
        return ticket == self._ticket

    def passed(self, ticket: int) -> bool:
        """The org has answered sensibly. True: the gate has opened by it."""
        if ticket != self._ticket:
            return False
        opened = self._ajar
        self._ajar = self._probing = False
        self._failures.clear()
        return opened

    def unused(self, ticket: int) -> None:
        """The request was not made after all, so it says nothing."""
        if ticket == self._ticket:
            self._probing = False

    def failed(self, ticket: int, pause: Pause, now_s: float) -> float:
        """Close the gate. Returns for how many seconds it is closed now."""
        if ticket == self._ticket:
            self._ticket += 1
            length_s = self._length_s(pause)
            self._failures[pause] += 1
            after = _LOGIN_AFTER.get(pause)
            self.login_first |= after is not None and self._failures[pause] >= after
            self._ajar, self._probing = True, False
            self._until_s = max(self._until_s, now_s + length_s)
        elif pause not in (Pause.OUTAGE, Pause.MOVED):
            self._until_s = max(self._until_s, now_s + self._length_s(pause))
        return self.closed_for_s(now_s)

    def _length_s(self, pause: Pause) -> float:
        first_s, most_s = PAUSES_S[pause]
        doubled_s = min(first_s * 2.0 ** min(self._failures[pause], 10), most_s)
        return doubled_s * self._rng.uniform(*_JITTER)


class RequestSize:
    """How many rows a request may have: fewer after many locks, so that it holds fewer of them, and
    no more than the org has lately written in `REQUEST_TARGET_S`. `crowded`: the last one met many,
    so the next goes alone.
    """

    def __init__(self) -> None:
        self.crowded = False
        self._rows = MAX_ROWS_PER_REQUEST
        self._changed_s = 0.0
        self._shrunk_s = float("-inf")
        self._row_s: float | None = None

    def rows(self, now_s: float) -> int:
        """The most rows for one Collections request."""
        while self._rows < MAX_ROWS_PER_REQUEST and now_s - self._changed_s >= GROW_AFTER_S:
            self._rows = min(self._rows * 2, MAX_ROWS_PER_REQUEST)
            self._changed_s += GROW_AFTER_S
        return min(self._rows, self._in_time())

    def rows_of_all_parts(self, now_s: float) -> int:
        """The most rows for a Composite of several. Until one request was timed: one part."""
        rows = self.rows(now_s)
        parts = 1 if self._row_s is None else MAX_PARTS_PER_COMPOSITE
        return min(rows * parts, max(rows, self._in_time()))

    def took(self, rows: int, seconds: float) -> None:
        """A request of so many rows was answered after so long."""
        is_telling = rows * 2 >= self._rows or seconds * 2 >= REQUEST_TARGET_S
        if rows and is_telling:  # of a small quick one most is the way there and back
            row_s = seconds / rows
            self._row_s = row_s if self._row_s is None else (self._row_s + row_s) / 2

    def shrink(self, now_s: float) -> bool:
        """Halve it. Returns whether that changed anything."""
        rows = self.rows(now_s)
        if now_s - self._shrunk_s < SHRINK_AT_MOST_EVERY_S:
            return False
        self._shrunk_s = self._changed_s = now_s
        self._rows = max(MIN_ROWS_AFTER_LOCKS, rows // 2)
        return self._rows < rows

    def _in_time(self) -> int:
        if self._row_s is None or self._row_s <= 0.0:
            return MAX_ROWS_PER_REQUEST * MAX_PARTS_PER_COMPOSITE
        return max(MIN_ROWS_AFTER_LOCKS, int(REQUEST_TARGET_S / self._row_s))

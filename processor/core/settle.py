"""What becomes of an owed row when Salesforce has been asked: a settlement, or another time.

    verdict   the row is
    Settled   settled as written; in doubt and not read back: due when it may be read back
    Differs   in doubt no more; due at once
    Unknown   in doubt from now on; due at once
    Reject    settled as refused
    Retry     due after the verdict's wait, and where it is the row's own trouble, after as long
              again as it has been tried; too old, and the org not paused: settled as refused
    Park      the same; too old: settled as refused
    Stop      due after a minute, however old it is

Where a newer version was made meanwhile, the settlement is of the version that was sent, and a row
that is not settled is due as the newer version's own hold says, whatever its verdict was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from processor.core.due import Rules
from processor.core.events import MessageState, Outcome, Settlement

STOP_RETRY_MS: Final = 60_000
"""How long a row waits when no row can succeed until an admin has changed something."""
LONGEST_RETRY_MS: Final = 3_600_000
"""A row that fails again and again is tried some 30 times in a day: what costs the org a call, and
maybe its flows' time, is not to be done for nothing."""
_SHORTEST_GRAIN_MS: Final = 1_000
_GRAINS_MS: Final = (2_000, 5_000, 15_000, 60_000, 300_000, 900_000)
"""A due time is rounded up, and after a longer wait to the largest of these that is at most a
quarter of it: rows that come back one by one share a request when they are sent again."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Salesforce confirmed the values."""


@dataclass(frozen=True, slots=True)
class Differs:
    """Read back, and not what we wrote: write again."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not written, and known not to be: hand it in again after so many seconds. `whole_org`: the
    row is right (the org is paused, the lease was not held): its age is no reason to give it up.
    """

    after_s: float
    code: str
    whole_org: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """The Task is not there (yet)."""

    after_s: float
    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, and no answer: it may have been applied, or may be yet."""

    why: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Refused for good, by Salesforce's own code (or one of ours for a malformed Task id)."""

    code: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No row can succeed until an admin has changed something."""

    what_to_change: str


Verdict = Settled | Differs | Retry | Park | Unknown | Reject | Stop


class Deferral(NamedTuple):
    """The version that was sent stays owed, and is due again at `due_at` (ms).

    `doubt_at`: since when a write of it may still land (ms; 0: none can; None: as it was).
    """

    message_id: str
    version: int
    due_at: int
    doubt_at: int | None = None


def settle(
    verdict: Verdict,
    sent: MessageState,
    now: int,
    rules: Rules,
    *,
    verified: bool,
    tried_since: int,
) -> Settlement | Deferral:
    """The decision for one row. `sent`: its state when it was handed to the writer. `verified`: it
    was handed over to be read back, not to be written (`must_verify`). `tried_since`: when this
    version was first handed over (ms), as far as this process knows.
    """
    due_at, doubt_at = now, None
    match verdict:
        case Settled():
            if verified or not sent.doubt_at:
                return Settlement(sent.message_id, sent.version, sent.code, now, Outcome.WRITTEN)
            # An older value may yet land on top of it.
            due_at = max(now, sent.doubt_at + rules.unknown_after_ms)
        case Differs():
            doubt_at = 0
        case Unknown():
            doubt_at = now
        case Reject(code):
            return _refused(sent, code, now)
        case Retry(after_s, code, whole_org):
            if not whole_org and _is_too_old(sent, now, rules):
                return _refused(sent, code, now)
            due_at = _after(after_s, now) if whole_org else _later(after_s, now, tried_since)
        case Park(after_s, code):
            if _is_too_old(sent, now, rules):
                return _refused(sent, code, now)
            due_at = _later(after_s, now, tried_since)
        case Stop():  # pragma: no branch - there is no other
            due_at = now + STOP_RETRY_MS
    return Deferral(sent.message_id, sent.version, due_at, doubt_at)


def is_of_the_row(verdict: Verdict) -> bool:
    """Whether the row has failed for a reason of its own, and may again."""
    match verdict:
        case Retry(whole_org=whole_org):
            return not whole_org
        case Park():
            return True
        case _:
            return False


def defer(deferral: Deferral, current: MessageState, now: int, rules: Rules) -> MessageState:
    """The row's new state. `current`: as it is kept now, maybe with a newer version."""
    due_at, doubt_at = deferral.due_at, deferral.doubt_at
    if current.version != deferral.version:
        due_at = max(now, current.version_at + rules.hold_ms(current.code))
    if doubt_at is None:
        doubt_at = current.doubt_at
    return current.noted(due_at, doubt_at)


def is_urgent(outcome: Outcome, *, superseded: bool) -> bool:
    """Whether a settlement is published at once: a dead letter is not to be late, and a newer
    version that is owed waits for it.
    """
    return superseded or outcome is Outcome.REJECTED


def flush_due(
    rows: int, oldest_at: int, now: int, interval_ms: int, most_rows: int, *, urgent: bool
) -> bool:
    """Whether the settlements that wait are published now, without waiting for their messages'
    next events. `rows` wait, the first since `oldest_at` (ms); `urgent`: one of them is.
    """
    return rows > 0 and (urgent or rows >= most_rows or now - oldest_at >= interval_ms)


def _refused(sent: MessageState, code: str, now: int) -> Settlement:
    return Settlement(sent.message_id, sent.version, sent.code, now, Outcome.REJECTED, code)


def _is_too_old(sent: MessageState, now: int, rules: Rules) -> bool:
    return now - sent.version_at > rules.give_up_after_ms


def _after(wait_s: float, now: int) -> int:
    return _rounded_up(now + round(wait_s * 1000), _SHORTEST_GRAIN_MS)


def _later(least_s: float, now: int, tried_since: int) -> int:
    """After that wait; or after as long again as it has been tried, at most an hour."""
    wait_ms = max(round(least_s * 1000), min(now - tried_since, LONGEST_RETRY_MS))
    fit = (grain for grain in _GRAINS_MS if 4 * grain <= wait_ms)
    return _rounded_up(now + wait_ms, max(fit, default=_SHORTEST_GRAIN_MS))


def _rounded_up(time_ms: int, grain_ms: int) -> int:
    return -(-time_ms // grain_ms) * grain_ms

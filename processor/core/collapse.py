"""The collapse rule: out-of-order reports of a message -> its one true status.

The state of a message is `history`: code -> the latest event time seen with that code. Merging
two histories takes the greater time of each code. That is a join-semilattice (commutative,
associative, idempotent), so arrival order, duplicates, replays and batch boundaries cannot
change what comes out. `resolve` reads the status off a history and looks at nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from processor.core.codes import CODES, Stage

REROUTED: Final = 102
DELIVERED: Final = 220
ON_HANDSET: Final = 221

_BEGINNING: Final = -1  # before every event time: the message was never rerouted

_UNDELIVERED: Final = frozenset(n for n, c in CODES.items() if c.stage is Stage.UNDELIVERED)
_KNOWN: Final = {number: code.known for number, code in CODES.items()}
_STAGE: Final = {number: int(code.stage) for number, code in CODES.items()}


def merge(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """Two histories -> the history of everything that either has seen."""
    merged = dict(one)
    for code, at in other.items():
        if merged.get(code, _BEGINNING) < at:
            merged[code] = at
    return merged


def is_later(at: int, value: str | None, known_at: int, known: str | None) -> bool:
    """Whether a value replaces another in a last-writer register: the later, then the greater.

    A value once known is never blanked by an event that lacks it.
    """
    if value is None or known is None:
        return known is None
    return (at, value) > (known_at, known)


def resolve(history: Mapping[int, int]) -> int:
    """A history (never empty) -> the current status code.

    1. Delivered beats everything, in whatever order it arrives; 221 refines 220.
    2. Else the latest failure after the last reroute. (A reroute at the same millisecond as a
       failure comes after it: the failure is what caused it.)
    3. Else how far the message has come since that reroute.
    Where times are equal, a known code beats an unknown one, then the greater code wins.
    """
    if ON_HANDSET in history:
        return ON_HANDSET
    if DELIVERED in history:
        return DELIVERED
    rerouted_at = history.get(REROUTED, _BEGINNING)
    failures = [(at, _KNOWN[c], c) for c, at in _failures_after(rerouted_at, history)]
    if failures:
        return max(failures)[-1]
    return max(
        (_STAGE[code], _KNOWN[code], at, code)
        for code, at in history.items()
        if at >= rerouted_at and code not in _UNDELIVERED
    )[-1]


def in_conflict(history: Mapping[int, int]) -> bool:
    """Delivered, and yet failed after the last reroute: parts of a long message can differ."""
    if ON_HANDSET not in history and DELIVERED not in history:
        return False
    return bool(_failures_after(history.get(REROUTED, _BEGINNING), history))


def hides_progress(history: Mapping[int, int]) -> bool:
    """Failed, and yet a later report of progress: a reroute whose 102 was never sent to us."""
    code = resolve(history)
    if code not in _UNDELIVERED:
        return False
    failed_at = history[code]
    return any(at > failed_at and _STAGE[c] >= Stage.SUBMITTED for c, at in history.items())


def all_at_once(history: Mapping[int, int]) -> bool:
    """Several codes, one stamp: a sign that the stamp is not the time of the change."""
    return len(history) > 1 and len(set(history.values())) == 1


def _failures_after(rerouted_at: int, history: Mapping[int, int]) -> list[tuple[int, int]]:
    return [(c, at) for c, at in history.items() if at > rerouted_at and c in _UNDELIVERED]

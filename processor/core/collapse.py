"""The collapse rule: out-of-order reports of a message -> its one true status.

The state of a message is `history`: code -> the latest event time seen with that code. Merging
two histories takes the greater time of each code. That is a join-semilattice (commutative,
associative, idempotent), so arrival order, duplicates, replays and batch boundaries cannot
change what comes out. `resolve` reads the status off a history and looks at nothing else.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from processor.core.codes import CODE_END, CODES, STAGE, Stage

REROUTED: Final = 102
DELIVERED: Final = 220
ON_HANDSET: Final = 221

_SUBMITTED: Final = int(Stage.SUBMITTED)
_BEGINNING: Final = -1  # before every event time: the message was never rerouted

# By a code's number.
_UNDELIVERED: Final = [n in CODES and CODES[n].stage is Stage.UNDELIVERED for n in range(CODE_END)]
_KNOWN: Final = [n in CODES and CODES[n].known for n in range(CODE_END)]
_PREFERENCE: Final = [n + CODE_END * _KNOWN[n] for n in range(CODE_END)]
"""Where times are equal: a known code beats an unknown one, then the greater code wins."""
_PROGRESS: Final = [2 * STAGE[n] + _KNOWN[n] for n in range(CODE_END)]


def merge(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    """Two histories -> the history of everything that either has seen."""
    merged = dict(one)
    for code, at in other.items():
        if merged.get(code, _BEGINNING) < at:
            merged[code] = at
    return merged


def is_later(at: i64, value: str | None, known_at: i64, known: str | None) -> bool:
    """Whether a value replaces another in a last-writer register: the later, then the greater.

    A value once known is never blanked by an event that lacks it.
    """
    if value is None or known is None:
        return known is None
    return at > known_at or (at == known_at and value > known)


def resolve(history: dict[int, int]) -> int:
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
    return int(_latest_failure(history, rerouted_at) or _furthest(history, rerouted_at))


def _latest_failure(history: dict[int, int], rerouted_at: i64) -> i64:
    """0: none since the reroute."""
    found: i64 = 0
    found_at: i64 = _BEGINNING
    for code, at in history.items():
        if at <= rerouted_at or not _UNDELIVERED[code]:
            continue
        if at > found_at or (at == found_at and _PREFERENCE[code] > _PREFERENCE[found]):
            found, found_at = code, at
    return found


def _furthest(history: dict[int, int], rerouted_at: i64) -> i64:
    """Of two that have come as far, a known one, then the later."""
    found: i64 = 0
    found_at: i64 = _BEGINNING
    furthest: i64 = -1
    for code, at in history.items():
        if at < rerouted_at or _UNDELIVERED[code]:
            continue
        progress: i64 = _PROGRESS[code]
        if progress > furthest or (
            progress == furthest and (at > found_at or (at == found_at and code > found))
        ):
            found, found_at, furthest = code, at, progress
    return found


def in_conflict(history: dict[int, int]) -> bool:
    """Delivered, and yet failed after the last reroute: parts of a long message can differ."""
    if ON_HANDSET not in history and DELIVERED not in history:
        return False
    return _latest_failure(history, history.get(REROUTED, _BEGINNING)) != 0


def hides_progress(history: dict[int, int]) -> bool:
    """Failed, and yet a later report of progress: a reroute whose 102 was never sent to us."""
    code = resolve(history)
    if not _UNDELIVERED[code]:
        return False
    failed_at = history[code]
    return any(at > failed_at and STAGE[c] >= _SUBMITTED for c, at in history.items())


def all_at_once(history: dict[int, int]) -> bool:
    """Several codes, one stamp: a sign that the stamp is not the time of the change."""
    return len(history) > 1 and len(set(history.values())) == 1

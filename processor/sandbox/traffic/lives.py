"""What can become of a message, and which reports its gateway makes of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

Step = tuple[int, int]
"""A code, and how many milliseconds after the one before it the gateway reports it."""


class Kind(StrEnum):
    """How a message ends, or does not."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISCARDED = "discarded"
    REROUTED_DELIVERED = "rerouted_delivered"
    REROUTED_FAILED = "rerouted_failed"
    EXPIRED = "expired"
    STUCK = "stuck"
    CONFLICT = "conflict"
    UNKNOWN_CODE = "unknown_code"


DEFAULT_KINDS: Final[Mapping[Kind, float]] = {
    Kind.DELIVERED: 0.66,
    Kind.FAILED: 0.08,
    Kind.DISCARDED: 0.05,
    Kind.REROUTED_DELIVERED: 0.06,
    Kind.REROUTED_FAILED: 0.02,
    Kind.EXPIRED: 0.03,
    Kind.STUCK: 0.07,
    Kind.CONFLICT: 0.015,
    Kind.UNKNOWN_CODE: 0.015,
}

_FAILURES: Final = (400, 405, 410, 411, 412, 413, 414)
_OF_AN_ATTEMPT: Final = (402, 403, 405, 414)
_DISCARDS: Final = (301, 302, 303, 304, 305, 320, 330, 331, 332, 333)
_AT_PROVIDER: Final = (210, 211, 212, 213)


def steps_of(kind: Kind, rng: random.Random) -> list[Step]:
    """The reports of one message, in the order in which the gateway makes them."""
    return _LIVES[kind](rng)


def _seconds(rng: random.Random, usual_s: float, longest_s: float) -> int:
    """Milliseconds around the usual, most of them shorter, a few much longer."""
    return 1 + round(1000 * min(longest_s, rng.expovariate(1 / usual_s)))


def _sent(rng: random.Random) -> list[Step]:
    """Taken by the gateway (not every account asks for that report) and given to a provider."""
    steps = [] if rng.random() < 0.1 else [(101, rng.randint(2, 20))]
    if rng.random() < 0.02:
        steps.append((151, _seconds(rng, 2, 10)))
    steps.append((200, rng.randint(20, 900)))
    if rng.random() < 0.45:
        steps.append((rng.choice(_AT_PROVIDER), _seconds(rng, 1, 10)))
    return steps


def _arrived(rng: random.Random) -> list[Step]:
    steps = [(220, _seconds(rng, 5, 60))]
    if rng.random() < 0.3:
        steps.append((221, _seconds(rng, 2, 20)))
    return steps


def _rerouted(rng: random.Random) -> list[Step]:
    """A provider fails; the gateway tries another, sometimes within the same millisecond."""
    gap = 0 if rng.random() < 0.1 else _seconds(rng, 1, 5)
    failed = (rng.choice(_OF_AN_ATTEMPT), _seconds(rng, 3, 20))
    return [*_sent(rng), failed, (102, gap), (200, rng.randint(20, 900))]


def _delivered(rng: random.Random) -> list[Step]:
    return [*_sent(rng), *_arrived(rng)]


def _failed(rng: random.Random) -> list[Step]:
    return [*_sent(rng), (rng.choice(_FAILURES), _seconds(rng, 5, 60))]


def _discarded(rng: random.Random) -> list[Step]:
    return [(101, rng.randint(2, 20)), (rng.choice(_DISCARDS), rng.randint(1, 2_000))]


def _rerouted_delivered(rng: random.Random) -> list[Step]:
    return [*_rerouted(rng), *_arrived(rng)]


def _rerouted_failed(rng: random.Random) -> list[Step]:
    return [*_rerouted(rng), (rng.choice(_FAILURES), _seconds(rng, 3, 20))]


def _expired(rng: random.Random) -> list[Step]:
    return [*_sent(rng), (401, rng.randint(45_000, 75_000))]


def _stuck(rng: random.Random) -> list[Step]:
    steps = _sent(rng)
    return steps[: rng.randint(1, len(steps))]


def _conflict(rng: random.Random) -> list[Step]:
    """One part of a long message is delivered, another is not."""
    ends = [(220, _seconds(rng, 5, 30)), (rng.choice((400, 401, 405)), _seconds(rng, 5, 30))]
    rng.shuffle(ends)
    return [*_sent(rng), *ends]


def _unknown_code(rng: random.Random) -> list[Step]:
    """Codes that came up after the catalogue was written, mostly on the way to a known one."""
    new = (rng.choice((199, 222, 299, 399, 499)), _seconds(rng, 2, 10))
    return [*_sent(rng), new, *(_arrived(rng) if rng.random() < 0.4 else [])]


_LIVES: Final[Mapping[Kind, Callable[[random.Random], list[Step]]]] = {
    Kind.DELIVERED: _delivered,
    Kind.FAILED: _failed,
    Kind.DISCARDED: _discarded,
    Kind.REROUTED_DELIVERED: _rerouted_delivered,
    Kind.REROUTED_FAILED: _rerouted_failed,
    Kind.EXPIRED: _expired,
    Kind.STUCK: _stuck,
    Kind.CONFLICT: _conflict,
    Kind.UNKNOWN_CODE: _unknown_code,
}

"""What would be said over and over, said once in a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

What = TypeVar("What")
Example = TypeVar("Example")

INTERVAL_MS: Final = 60_000
MOST_KINDS: Final = 100  # remembered at a time; those beyond are one kind


class Rarely(Generic[What, Example]):
    """Of each kind the first is due at once; then, at most once an interval, how many there were
    since. `beyond`: the kind that stands for all above `MOST_KINDS`.
    """

    def __init__(self, beyond: What) -> None:
        self._beyond = beyond
        self._waiting: dict[What, tuple[int, Example]] = {}
        self._told_at: dict[What, int] = {}

    def add(self, what: What, example: Example, count: int = 1) -> None:
        if what not in self._waiting and what not in self._told_at:
            kinds = self._waiting.keys() | self._told_at.keys()
            what = what if len(kinds) < MOST_KINDS else self._beyond
        before, first = self._waiting.get(what, (0, example))
        self._waiting[what] = before + count, first

    def due(self, now: int) -> Iterator[tuple[What, int, Example]]:
        """What to say at `now` (ms): each kind, how many since it was said last, the first of
        them. A clock that was set back delays nothing.
        """
        self._told_at = {
            what: at for what, at in self._told_at.items() if 0 <= now - at < INTERVAL_MS
        }
        for what in [what for what in self._waiting if what not in self._told_at]:
            count, example = self._waiting.pop(what)
            self._told_at[what] = now
            yield what, count, example

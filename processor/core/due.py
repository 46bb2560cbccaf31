"""When an owed row is due at Salesforce, and what is done with it then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import i64

from processor.core.codes import CODE_END, CODES, FINAL, Category
from processor.core.events import IN_FLIGHT, MessageState

MAY_BE_REOPENED: Final = frozenset({330, 332})
"""Discarded by the gateway for want of a route: like a failure, a reroute may reopen these."""

_REOPENABLE: Final = [
    number in CODES and (CODES[number].category is Category.FAILED or number in MAY_BE_REOPENED)
    for number in range(CODE_END)
]


@final
@dataclass(frozen=True)
class Rules:
    """The settings the core needs. All times in milliseconds."""

    failure_hold_ms: i64
    intermediate_hold_ms: i64
    unknown_after_ms: i64
    give_up_after_ms: i64
    retention_ms: i64
    require_task: bool = True

    def hold_ms(self, code: i64) -> i64:
        """How long a new status waits before it is written.

        A delivery, and a discard that nothing reopens: not at all. A failure: long enough for a
        reroute to reopen it, so that no automation in the org fires for nothing. An intermediate
        status: in the hope that a final one supersedes it.
        """
        if not FINAL[code]:
            return self.intermediate_hold_ms
        if _REOPENABLE[code]:
            return self.failure_hold_ms
        return 0

    def due_at(self, code: i64, now: i64, old: MessageState | None) -> i64:
        """When a version made now is due, given the state that it replaces.

        A row in flight stays there until its result comes. An intermediate status never postpones
        a row that was owed already: a message that keeps moving would never be written.
        """
        due: i64 = now + self.hold_ms(code)
        if old is None or not old.owed:
            return due
        if old.due_at == IN_FLIGHT:
            return IN_FLIGHT
        return due if FINAL[code] else min(due, old.due_at)


def must_verify(state: MessageState, now: int, rules: Rules) -> bool:
    """Whether the row's doubt is old enough to be ended by reading the Task back.

    Until then it is written like any other row, and waits.
    """
    return state.doubt_at > 0 and now >= state.doubt_at + rules.unknown_after_ms


def reclaim(state: MessageState, now: int, rules: Rules) -> MessageState:
    """An owed row that was in another owner's hands, or in this one's before a restart.

    That owner may have sent it, and its request may land yet: the row is written again when
    due, and settled only after it was read back.
    """
    return state.noted(due_at=now + rules.hold_ms(state.code), doubt_at=now)

"""Why nothing seems to go on, told now and then: waiting in silence looks like a fault."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

from processor.ports import OwedCount

log = logging.getLogger(__name__)

JOINING_S: Final = 5.0  # a join that takes longer waits for somebody
JOINING_EVERY_S: Final = 15.0
DOUBT_EVERY_S: Final = 60.0


class Waits:
    """Told once a second by the worker's loop how things are."""

    def __init__(self) -> None:
        self._outside_since_s: float | None = None
        self._tell_joining_at_s = self._tell_doubt_at_s = 0.0

    def joining(self, now_s: float, *, joined: bool) -> None:
        """Whether the group has taken us in."""
        if joined:
            self._outside_since_s = None
            return
        if self._outside_since_s is None:
            self._outside_since_s = now_s
            self._tell_joining_at_s = now_s + JOINING_S
        if now_s >= self._tell_joining_at_s:
            self._tell_joining_at_s = now_s + JOINING_EVERY_S
            log.info(
                "waiting to be taken into the consumer group for_s=%.0f: it waits for all its "
                "members, and for one that died until KAFKA__SESSION_TIMEOUT_S is over",
                now_s - self._outside_since_s,
            )

    def owing(self, now_s: float, owed: OwedCount, next_due_ms: int | None) -> None:
        """What is owed, and when the next of it is due."""
        if not owed.total or owed.in_doubt < owed.total or next_due_ms is None:
            return
        if now_s >= self._tell_doubt_at_s:
            self._tell_doubt_at_s = now_s + DOUBT_EVERY_S
            due = datetime.fromtimestamp(next_due_ms / 1000, UTC)
            log.info(
                "all rows that are owed wait to be read back, because Salesforce may have been "
                "sent an older value too: rows=%d next=%s (SALESFORCE__UNKNOWN_AFTER_S)",
                owed.total, f"{due:%Y-%m-%dT%H:%M:%SZ}",
            )  # fmt: skip

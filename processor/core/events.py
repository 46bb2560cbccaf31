"""What flows through: an event comes in, a message's state is kept, a status goes out.

Every time is an int: milliseconds since 1970, UTC. Tuples, because one is made per event.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

IN_FLIGHT: Final = 1 << 62
"""`due_at` of a row that the Salesforce writer holds now: not due to anybody else."""


class DeliveryEvent(NamedTuple):
    """One delivery report, decoded. `record_time` -1: its record has no timestamp. Else
    `event_time` is never later.
    """

    message_id: str
    code: int
    event_time: int
    record_time: int
    task_id: str | None
    account_id: str | None


class Outcome(IntEnum):
    """How Salesforce answered the last version that it was asked to hold."""

    NONE = 0
    WRITTEN = 1
    REJECTED = 2


class MessageState(NamedTuple):
    """All that is known of one message. The status topic holds it, without the last two fields.

    `history` maps each code seen to the latest time it carried. `code` is `resolve(history)`.
    `version` grows by one whenever a value that Salesforce is given changes; `version_at` is
    when that was. `settled_*` is the last version that Salesforce confirmed or refused for good
    (version 0: none yet). `due_at` and `doubt_at` are the owner's own notes: when the row is to
    be handed to the writer, and since when a write whose outcome is unknown may still land
    (0: none can).
    """

    message_id: str
    history: dict[int, int]
    code: int
    task_id: str | None
    task_at: int
    account_id: str | None
    account_at: int
    version: int
    version_at: int
    settled_version: int = 0
    settled_code: int = 0
    settled_at: int = 0
    settled_outcome: Outcome = Outcome.NONE
    due_at: int = 0
    doubt_at: int = 0

    @property
    def owed(self) -> bool:
        """Whether Salesforce has yet to confirm (or refuse) the current version."""
        return self.version != self.settled_version

    @property
    def event_time(self) -> int:
        """When the current code was last reported."""
        return self.history[self.code]

    @property
    def last_event_time(self) -> int:
        """The time of the latest report of all, whichever code it carried."""
        return max(self.history.values())

    # Parts by position: the hot loop can't afford `_replace`, which makes a dict of each state.

    @property
    def registers(self) -> tuple[str | None, int, str | None, int]:
        """The last-writer registers: the Task id and its time, the account id and its."""
        return self[3:7]

    @property
    def settled(self) -> tuple[int, int, int, Outcome]:
        """The version that was settled last, its code, when, and how."""
        return self[9:13]

    def settled_by(self, settlement: Settlement, due_at: int, doubt_at: int) -> MessageState:
        """The same message with another settlement and notes."""
        _, version, code, at, outcome, _ = settlement
        return MessageState(*self[:9], version, code, at, outcome, due_at, doubt_at)

    def in_flight(self) -> MessageState:
        """The same message, now with the writer."""
        return MessageState(*self[:13], IN_FLIGHT, self.doubt_at)


class Settlement(NamedTuple):
    """Salesforce confirmed a version of a message, or refused it for good, at a time (ms)."""

    message_id: str
    version: int
    code: int
    at: int
    outcome: Outcome
    reason: str = ""

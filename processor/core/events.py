"""What flows through: an event comes in, a message's state is kept, a status goes out.

Every time is an int: milliseconds since 1970, UTC. Classes whose constructor is written out and
whose attributes never change: compiled ahead of time, one is made in a tenth of a microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, final

from mypy_extensions import i64

IN_FLIGHT: Final = 4_611_686_018_427_387_904  # 1 << 62
"""`due_at` of a row that the Salesforce writer holds now: not due to anybody else."""


@final
@dataclass(init=False)
class DeliveryEvent:
    """One delivery report, decoded. `record_time` -1: its record has no timestamp. Else
    `event_time` is never later.
    """

    message_id: Final[str]
    code: Final[i64]
    event_time: Final[i64]
    record_time: Final[i64]
    task_id: Final[str | None]
    account_id: Final[str | None]

    def __init__(
        self,
        message_id: str,
        code: i64,
        event_time: i64,
        record_time: i64,
        task_id: str | None,
        account_id: str | None,
    ) -> None:
        self.message_id = message_id
        self.code = code
        self.event_time = event_time
        self.record_time = record_time
        self.task_id = task_id
        self.account_id = account_id


class Outcome(IntEnum):
    """How Salesforce answered the last version that it was asked to hold."""

    NONE = 0
    WRITTEN = 1
    REJECTED = 2


OUTCOMES: Final = tuple(Outcome)
"""By number."""


@final
@dataclass(init=False)
class Settlement:
    """Salesforce confirmed a version of a message, or refused it for good, at a time (ms)."""

    message_id: Final[str]
    version: Final[i64]
    code: Final[i64]
    at: Final[i64]
    outcome: Final[Outcome]
    reason: Final[str]

    def __init__(
        self,
        message_id: str,
        version: i64,
        code: i64,
        at: i64,
        outcome: Outcome,
        reason: str = "",
    ) -> None:
        self.message_id = message_id
        self.version = version
        self.code = code
        self.at = at
        self.outcome = outcome
        self.reason = reason


@final
@dataclass(init=False)
class MessageState:
    """All that is known of one message. The status topic holds it, without the last two fields.

    `history` maps each code seen to the latest time it carried. `code` is `resolve(history)`.
    `version` grows by one whenever a value that Salesforce is given changes; `version_at` is
    when that was. `settled_*` is the last version that Salesforce confirmed or refused for good
    (version 0: none yet). `due_at` and `doubt_at` are the owner's own notes: when the row is to
    be handed to the writer, and since when a write whose outcome is unknown may still land
    (0: none can).
    """

    message_id: Final[str]
    history: Final[dict[int, int]]
    code: Final[i64]
    task_id: Final[str | None]
    task_at: Final[i64]
    account_id: Final[str | None]
    account_at: Final[i64]
    version: Final[i64]
    version_at: Final[i64]
    settled_version: Final[i64]
    settled_code: Final[i64]
    settled_at: Final[i64]
    settled_outcome: Final[Outcome]
    due_at: Final[i64]
    doubt_at: Final[i64]

    def __init__(  # noqa: PLR0913, PLR0917 - a row of the store
        self,
        message_id: str,
        history: dict[int, int],
        code: i64,
        task_id: str | None,
        task_at: i64,
        account_id: str | None,
        account_at: i64,
        version: i64,
        version_at: i64,
        settled_version: i64 = 0,
        settled_code: i64 = 0,
        settled_at: i64 = 0,
        settled_outcome: Outcome = Outcome.NONE,
        due_at: i64 = 0,
        doubt_at: i64 = 0,
    ) -> None:
        self.message_id = message_id
        self.history = history
        self.code = code
        self.task_id = task_id
        self.task_at = task_at
        self.account_id = account_id
        self.account_at = account_at
        self.version = version
        self.version_at = version_at
        self.settled_version = settled_version
        self.settled_code = settled_code
        self.settled_at = settled_at
        self.settled_outcome = settled_outcome
        self.due_at = due_at
        self.doubt_at = doubt_at

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

    def settled_by(self, settlement: Settlement, due_at: i64, doubt_at: i64) -> MessageState:
        """The same message with another settlement and notes."""
        return self._with(
            settlement.version,
            settlement.code,
            settlement.at,
            settlement.outcome,
            due_at,
            doubt_at,
        )

    def noted(self, due_at: i64, doubt_at: i64) -> MessageState:
        """The same message with other notes of its owner."""
        return self._with(
            self.settled_version,
            self.settled_code,
            self.settled_at,
            self.settled_outcome,
            due_at,
            doubt_at,
        )

    def in_flight(self) -> MessageState:
        """The same message, now with the writer."""
        return self.noted(IN_FLIGHT, self.doubt_at)

    def _with(
        self,
        settled_version: i64,
        settled_code: i64,
        settled_at: i64,
        settled_outcome: Outcome,
        due_at: i64,
        doubt_at: i64,
    ) -> MessageState:
        """What comes from events stays as it is."""
        return MessageState(
            self.message_id,
            self.history,
            self.code,
            self.task_id,
            self.task_at,
            self.account_id,
            self.account_at,
            self.version,
            self.version_at,
            settled_version,
            settled_code,
            settled_at,
            settled_outcome,
            due_at,
            doubt_at,
        )


@final
@dataclass(init=False)
class Change:
    """A state replaced. `old`: as the store has it (None: there is none); `new` None: drop it."""

    old: Final[MessageState | None]
    new: Final[MessageState | None]

    def __init__(self, old: MessageState | None, new: MessageState | None) -> None:
        self.old = old
        self.new = new

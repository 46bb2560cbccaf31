"""Three kinds of error, because there are three things one can do.

    ProcessorError
    ├── Rejected       this record, never again            -> dead letter, and go on
    ├── Unavailable    the far side, perhaps later         -> pause, keep polling, try again
    ├── ConfigError    us, before the first poll           -> exit 2 and say what to change
    ├── StoreFailed    the local cache, not the truth      -> wipe it and restore
    │   └── StoreBlocked   the machine, not the cache      -> keep it, and try again later
    └── StopProcessing us, while running; data is at risk  -> commit nothing more and exit 1

Anything else that is raised is a bug: the process ends, commits nothing, and the
consumer group replays what it had read.
"""

from __future__ import annotations

from typing import NamedTuple


class ProcessorError(Exception):
    """The root of every error this package raises on purpose."""


class Rejection(NamedTuple):
    """Why a record can never be used.

    `reason` is a short bounded word, fit for a metric's label (`bad_code`, `no_message_id`);
    `detail` says more to a person and holds no phone number and no message text.
    """

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Rejected(ProcessorError):
    """A record that can never be used. What is kept of it is its `rejection`: an exception holds
    the frames that it went through, and with them the whole batch.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.rejection = Rejection(reason, detail)
        super().__init__(str(self.rejection))

    @property
    def reason(self) -> str:
        return self.rejection.reason

    @property
    def detail(self) -> str:
        return self.rejection.detail


class Unavailable(ProcessorError):
    """A far side (broker, registry, Salesforce) did not answer or asked to come back later."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConfigError(ProcessorError):
    """A setting, a topic or an org is not as it must be. The text says what to change."""


class StopProcessing(ProcessorError):
    """Going on would lose or corrupt data. The text says what an operator must do."""


class StoreFailed(ProcessorError):
    """The local store can't be trusted any more: wipe it and restore from the status topic.

    `partition` None: it is not known which partition's store it was.
    """

    def __init__(self, message: str, partition: int | None = None) -> None:
        super().__init__(message)
        self.partition = partition


class StoreBlocked(StoreFailed):
    """The machine does not let the local store work: its disk is full, no file can be opened. What
    it holds is right, so wiping it is no help: close it and try again later.
    """

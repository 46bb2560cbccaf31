"""What the demo is to show, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from processor.sandbox.demo.outage import OrgDown
    from processor.sandbox.demo.story import Story

DEFAULT_MESSAGES: Final = 2_000


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show. `rate` is reports per second; 0: as fast as possible; None: a few seconds'
    worth, however many there are. `keep`: when done and judged, go on until interrupted.
    """

    messages: int = DEFAULT_MESSAGES
    seed: int = 1
    broker: str = "in-process"
    rate: float | None = None
    faults: bool = True
    keep: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What came of it.

    `salesforce_requests` are all HTTP requests that the org answered or cut off, logins included;
    `salesforce_rows` are the rows in them that it looked at. `regressions` are the writes that
    took a Task back, see `judge.py`. `owed`: rows that Salesforce had yet to confirm in the end.
    `org_down` and `story` are None where there was nothing to tell. `wrong` tells of some of what
    is not right.
    """

    messages: int
    events: int
    tasks_expected: int
    tasks_correct: int
    regressions: int
    salesforce_requests: int
    salesforce_rows: int
    api_calls: int
    events_ignored: int
    events_ignored_expected: int
    dead_letters: int
    dead_letters_expected: int
    statuses_published: int
    faults: dict[str, int]
    finished: bool
    owed: int
    seconds: float
    events_per_second: float
    seed: int
    broker: str
    org_down: OrgDown | None = None
    story: Story | None = None
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return (
            self.finished
            and self.owed == 0
            and not self.wrong
            and self.tasks_correct == self.tasks_expected
            and self.regressions == 0
            and self.events_ignored == self.events_ignored_expected
            and self.dead_letters == self.dead_letters_expected
        )

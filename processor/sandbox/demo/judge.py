"""Whether the demo's org holds what it must, and whether it ever went backwards on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from processor.sandbox.org.tasks import Write
from processor.sandbox.traffic.oracle import Expectation, out_of_place

CATEGORY_FIELD: Final = "SMS_Status__c"
CODE_FIELD: Final = "SMS_Status_Code__c"
VERSION_FIELD: Final = "SMS_Status_Version__c"
MOST_TOLD: Final = 10


class Org(Protocol):
    """The Tasks as they are, and every write to them in the order of application."""

    def task(self, task_id: str) -> dict[str, object]: ...
    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]: ...


@dataclass(slots=True)
class Verdict:
    """`wrong` tells of the first few Tasks that are not right or went back."""

    correct: int = 0
    regressions: int = 0
    wrong: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        if len(self.wrong) < MOST_TOLD:
            self.wrong.append(text)


def judge(org: Org, tasks: Mapping[str, Expectation]) -> Verdict:
    """Compare the org with what is expected of its Tasks."""
    verdict = Verdict()
    written = by_task(org.writes())
    for task_id, wanted in tasks.items():
        if is_right(org.task(task_id), wanted):
            verdict.correct += 1
        else:
            found = org.task(task_id)
            verdict.tell(
                f"{task_id} has {found.get(CODE_FIELD)} ({found.get(CATEGORY_FIELD)}), "
                f"expected {wanted.code} ({wanted.category})"
            )
        back = regressions(written.pop(task_id, ()), wanted.path)
        if back:
            verdict.regressions += back
            verdict.tell(f"{task_id} went back {back} times")
    for task_id in written:
        verdict.regressions += 1
        verdict.tell(f"{task_id} was written, and no message names it")
    return verdict


def is_right(task: Mapping[str, object], wanted: Expectation) -> bool:
    """Whether a Task holds the final status of its message."""
    return (shown(task), task.get(CATEGORY_FIELD)) == (wanted.code, wanted.category)


def regressions(writes: Sequence[Write], path: Sequence[int]) -> int:
    """How many writes took a Task back to something older than what it held before.

    A write is a regression if it breaks either of two orders. The oracle's: `path` lists what
    the message's status was after each report that arrived, so that a later place is the
    collapse of a superset of reports; the written codes must be a selection of it in that order,
    repetitions (retries) allowed. The processor's own: the version must never decrease, and a
    version must never come with two codes.
    """
    codes = [shown(write.fields) for write in writes]
    wrong = out_of_place(codes, path)
    latest = (float("-inf"), 0)
    for place, (write, code) in enumerate(zip(writes, codes, strict=True)):
        version = write.fields.get(VERSION_FIELD)
        if not isinstance(version, int | float):
            wrong[place] = True
            continue
        if version < latest[0] or (version == latest[0] and code != latest[1]):
            wrong[place] = True
        latest = max(latest, (float(version), code), key=lambda one: one[0])
    return sum(wrong)


def by_task(writes: Iterable[Write]) -> dict[str, list[Write]]:
    """The writes of each Task, in the order of application."""
    grouped: dict[str, list[Write]] = {}
    for write in writes:
        grouped.setdefault(write.task_id, []).append(write)
    return grouped


def shown(task: Mapping[str, object]) -> int:
    """The code in a Task: a number field gives 220.0, a text field "220"; what is none is 0."""
    value = task.get(CODE_FIELD)
    if isinstance(value, int | float):
        return int(value)
    return int(value) if isinstance(value, str) and value.isdigit() else 0

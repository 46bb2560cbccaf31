"""One message's story: its reports as they came, what its Task showed meanwhile, and the rule
that makes the end right.

Which message is worth telling shows in the end, so the times of some are kept along the way:
those whose reports came in the strangest order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from processor.core.codes import CODES
from processor.sandbox.demo.judge import Org, by_task, is_right, shown
from processor.sandbox.org.tasks import Write
from processor.sandbox.traffic.generator import Message, Report, Traffic
from processor.sandbox.traffic.oracle import Expectation, category, event_time, expect

RULES: Final = {
    1: "Delivered (221, 220) beats everything, in whatever order it arrives.",
    2: "Else the latest failure (3xx, 4xx) that is later than the last reroute (102).",
    3: "Else how far the message has come since that reroute.",
}
"""As the README has them, under "What the status of a message is"."""

MESSAGES_MAX: Final = 2_000  # looked at, over the whole run
CANDIDATES_MAX: Final = 100  # remembered
_REPORTS: Final = range(4, 9)  # a good story is neither shorter nor longer
_TEXT_WIDTH: Final = 30


@dataclass(frozen=True, slots=True)
class Moment:
    """A report that came (`code`, and when it was `made`, in seconds after the message's first),
    or what the Task showed from then on (`task`). `at`: seconds after the demo's start.
    """

    at: float
    code: int | None = None
    made: float | None = None
    remark: str = ""
    task: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """`last_came` is the code of the last report that could be used."""

    message_id: str
    task_id: str
    moments: tuple[Moment, ...]
    last_came: int
    code: int
    rule: int


class StoryTeller:
    """Remembers when a few messages' reports were sent. For one thread, then for another."""

    def __init__(self, traffic: Traffic) -> None:
        messages = traffic.messages or MESSAGES_MAX
        numbers = range(0, messages, math.ceil(messages / MESSAGES_MAX))
        lives = map(traffic.message, numbers)
        found = ((_oddity(life, wanted), life) for life in lives if (wanted := expect(life)))
        best = heapq.nlargest(CANDIDATES_MAX, found, key=lambda one: one[0])
        self._lives = [life for _, life in best]
        self._sent: dict[str, list[tuple[int, Report]]] = {m.message_id: [] for m in self._lives}

    def sent(self, report: Report, at_ms: int) -> None:
        """A report went out at this time of the machine's clock."""
        if (times := self._sent.get(report.key)) is not None:
            times.append((at_ms, report))

    def tell(self, org: Org, tasks: Mapping[str, Expectation], began_ms: int) -> Story | None:
        """The best story of a Task that is right; None where there is none."""
        by_message = {wanted.message_id: wanted for wanted in tasks.values()}
        written = by_task(org.writes())
        stories = []
        for life in self._lives:
            wanted = by_message.get(life.message_id)
            sent = self._sent[life.message_id]
            if wanted is None or len(sent) < len(life.reports):
                continue
            if is_right(org.task(wanted.task_id), wanted):
                writes = written.get(wanted.task_id, [])
                stories.append(_story(wanted, sent, writes, began_ms))
        return max(stories, key=_worth, default=None)


def told(story: Story) -> list[str]:
    """The story for a person, 80 columns wide."""
    lines = [
        f"One of them, Task {story.task_id}: when each report came, and was made",
        "",
        f"       came      made         report{'':{_TEXT_WIDTH - 1}}the Task shows",
        *map(_line, story.moments),
        "",
    ]
    if story.last_came != story.code:
        lines.append(f"  The last report says {story.last_came}, and yet {story.code} is right.")
    return [*lines, f"  Rule {story.rule}: {RULES[story.rule]}"]


def _line(moment: Moment) -> str:
    at = f"  {moment.at:7.2f} s"
    if moment.task is not None:
        return f"{at}{'':{_TEXT_WIDTH + 24}}{moment.task} {category(moment.task)}"
    if moment.code is None:
        return f"{at}            {moment.remark}"
    text = _cut(CODES[moment.code].text.removeprefix("Message "), _TEXT_WIDTH)
    return f"{at}  {moment.made:6.1f} s  {moment.remark:<5}  {moment.code} {text}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _oddity(life: Message, wanted: Expectation) -> tuple[int, int]:
    """How strange the order of the reports is, before anything was sent."""
    usable = [report for report in life.reports if report.poison is None]
    codes = [report.event["status_code"] for report in usable]
    times = [event_time(report) for report in usable]
    behind = sum(1 for place, at in enumerate(times) if place and at < max(times[:place]))
    score = 3 * (codes[-1] != wanted.code) + min(behind, 2) + (102 in codes)
    return score + (len(life.reports) in _REPORTS), len(wanted.path)


def _worth(story: Story) -> tuple[int, int]:
    """A good story has a Task that changed on the way, and an end that is not the last word."""
    shows = [moment.task for moment in story.moments if moment.task is not None]
    codes = [moment.code for moment in story.moments if moment.code is not None]
    reports = len(story.moments) - len(shows)
    score = 2 * min(len(shows), 3) + 2 * len({category(code) for code in shows})
    score += 3 * (story.last_came != story.code) + 2 * (102 in codes) + (reports in _REPORTS)
    return score + any(moment.remark == "late" for moment in story.moments), -reports


def _story(
    wanted: Expectation, sent: list[tuple[int, Report]], writes: Iterable[Write], began_ms: int
) -> Story:
    moments = [*_came(sent, began_ms), *_showed(writes, began_ms)]
    moments.sort(key=lambda moment: moment.at)
    last = next(report for _, report in reversed(sent) if report.poison is None)
    return Story(
        message_id=wanted.message_id,
        task_id=wanted.task_id,
        moments=tuple(moments),
        last_came=last.event["status_code"],
        code=wanted.code,
        rule=1 if wanted.code in (220, 221) else 2 if wanted.code >= 300 else 3,
    )


def _came(sent: list[tuple[int, Report]], began_ms: int) -> Iterator[Moment]:
    first = min(event_time(report) for _, report in sent if report.poison is None)
    latest = first
    known: set[str] = set()
    for at_ms, report in sent:
        at = (at_ms - began_ms) / 1000
        if report.poison is not None:
            yield Moment(at, remark=f"unusable, a dead letter ({report.poison})")
            continue
        made, name = event_time(report), report.event["delivery_report_id"]
        remark = "again" if name in known else "late" if made < latest else ""
        yield Moment(at, report.event["status_code"], (made - first) / 1000, remark)
        known.add(name)
        latest = max(latest, made)


def _showed(writes: Iterable[Write], began_ms: int) -> Iterator[Moment]:
    before = None
    for write in writes:
        code = shown(write.fields)
        if code != before:
            yield Moment((write.time_ms - began_ms) / 1000, task=code)
        before = code

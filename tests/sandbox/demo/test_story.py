"""The story of one message: the one worth telling, told in the order in which it happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processor.core.codes import CODES
from processor.sandbox.demo.judge import CATEGORY_FIELD, CODE_FIELD
from processor.sandbox.demo.story import RULES, Moment, Story, StoryTeller, told
from processor.sandbox.org.tasks import Write
from processor.sandbox.traffic.generator import Traffic
from processor.sandbox.traffic.oracle import category, expected

README = Path(__file__).parents[3] / "README.md"
BEGAN_MS = 1_000_000


class Org:
    """Each Task shows each status of its message's path, then stays."""

    def __init__(self, traffic: Traffic, *, right: bool = True) -> None:
        self._tasks: dict[str, dict[str, Any]] = {}
        self._log: list[Write] = []
        for wanted in expected(traffic).tasks.values():
            for place, code in enumerate(wanted.path if right else wanted.path[:-1]):
                fields = {CODE_FIELD: str(code), CATEGORY_FIELD: category(code)}
                self._tasks[wanted.task_id] = fields
                at_ms = BEGAN_MS + 500 + 1_000 * place
                self._log.append(Write(len(self._log), at_ms, wanted.task_id, fields, "r"))
            self._tasks.setdefault(wanted.task_id, {})

    def task(self, task_id: str) -> dict[str, object]:
        return self._tasks[task_id]

    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]:
        return self._log


def tell(traffic: Traffic, org: Org) -> Story | None:
    teller = StoryTeller(traffic)
    for number, report in enumerate(traffic):
        teller.sent(report, BEGAN_MS + number)
    return teller.tell(org, expected(traffic).tasks, BEGAN_MS)


@pytest.mark.parametrize("seed", range(5))
def test_the_story_has_every_report_and_what_the_task_showed(seed: int) -> None:
    traffic = Traffic(200, seed)
    story = tell(traffic, Org(traffic))
    assert story is not None
    (life,) = [life for life in traffic.lives() if life.message_id == story.message_id]
    came = [moment for moment in story.moments if moment.task is None]
    usable = [report for report in life.reports if report.poison is None]
    assert len(came) == len(life.reports)
    assert [m.code for m in came if m.code] == [r.event["status_code"] for r in usable]
    assert [m.at for m in story.moments] == sorted(m.at for m in story.moments)
    wanted = expected(traffic).tasks[story.task_id]
    assert tuple(m.task for m in story.moments if m.task) == wanted.path
    assert story.code == wanted.code
    assert story.last_came == usable[-1].event["status_code"]


def test_a_message_whose_last_report_is_not_its_status_is_preferred() -> None:
    traffic = Traffic(200, 1)
    story = tell(traffic, Org(traffic))
    assert story is not None
    assert story.last_came != story.code


def test_no_story_is_told_of_a_task_that_is_wrong() -> None:
    traffic = Traffic(50, 1)
    assert tell(traffic, Org(traffic, right=False)) is None


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_that_is_named_is_the_one_that_decides(seed: int) -> None:
    traffic = Traffic(1, seed)
    story = tell(traffic, Org(traffic))
    if story is not None:
        stage = CODES[story.code].stage
        assert story.rule == (1 if stage >= 5 else 2 if stage == 4 else 3)


def test_the_rules_are_the_readmes() -> None:
    text = " ".join(README.read_text().split())
    for number, rule in RULES.items():
        assert f"{number}. {rule}" in text


def test_it_is_told_in_eighty_columns() -> None:
    moments = (
        Moment(1.0, 101, 0.0),
        Moment(1.5, remark="unusable, a dead letter (truncated)"),
        Moment(2.0, task=101),
        Moment(2.5, 102, 999.9, "late"),
        Moment(1_000.0, 220, 12.0, "again"),
        Moment(1_001.0, task=220),
    )
    lines = told(Story("m", "00T000000000001AAA", moments, 102, 220, 1))
    assert max(map(len, lines)) <= 80
    assert lines[-2:] == [
        "  The last report says 102, and yet 220 is right.",
        "  Rule 1: Delivered (221, 220) beats everything, in whatever order it arrives.",
    ]
    assert lines[2].endswith("the Task shows")
    assert lines[5] == f"{'2.00 s':>11}{'101 Processing':>{len(lines[5]) - 11}}"
    assert lines[5].index("101") == lines[2].index("the Task shows")

"""The demo, small, on the broker in this process; and its judge, by examples."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from processor import cli
from processor.sandbox.demo import command as demo
from processor.sandbox.demo.judge import (
    CATEGORY_FIELD,
    CODE_FIELD,
    VERSION_FIELD,
    is_right,
    judge,
    regressions,
)
from processor.sandbox.demo.outage import OrgDown
from processor.sandbox.demo.report import DemoOptions, DemoReport
from processor.sandbox.demo.run import INTRODUCTION
from processor.sandbox.demo.screen import Lines, Progress, next_steps, program, summary
from processor.sandbox.demo.story import Moment, Story
from processor.sandbox.org.tasks import Write
from processor.sandbox.traffic.generator import Traffic
from processor.sandbox.traffic.oracle import Expectation, Expected, expected
from tests.support.patience import Patience, patient

MESSAGES = 300


def arguments(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(texts)


def writes(*values: tuple[int, int], task_id: str = "T") -> list[Write]:
    """(version, code) of one Task, as a text field and a number field hold them."""
    return [
        Write(n, n, task_id, {VERSION_FIELD: float(version), CODE_FIELD: str(code)}, "r")
        for n, (version, code) in enumerate(values, 1)
    ]


# -- the whole thing ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_small_demo_has_every_task_right_whatever_the_org_does() -> None:
    report = demo.run_demo(DemoOptions(messages=MESSAGES, seed=7, rate=0))
    assert report.wrong == ()
    assert report.ok
    assert report.finished
    assert report.messages == MESSAGES
    assert report.tasks_correct == report.tasks_expected > MESSAGES * 0.8
    assert report.regressions == 0
    assert report.dead_letters == report.dead_letters_expected > 0
    assert report.events_ignored == report.events_ignored_expected > 0
    assert report.owed == 0
    assert report.faults.keys() >= {"html", "reset_after", "session", "unavailable"}
    assert report.org_down is not None
    assert report.org_down.requests >= 2
    assert report.org_down.events > 0
    assert report.org_down.owed > 0
    assert report.story is not None
    assert report.story.code == report.story.moments[-1].task
    assert report.salesforce_rows / MESSAGES < 0.7 * report.events / MESSAGES


def test_a_task_that_is_not_as_the_oracle_says_fails_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wrong(traffic: Traffic) -> Expected:
        wanted = expected(traffic)
        task_id, expectation = next(iter(wanted.tasks.items()))
        wanted.tasks[task_id] = expectation._replace(code=299)
        return wanted

    options = arguments("--messages", "40", "--rate", "0", "--no-faults", "--json")
    assert demo.main(options, wrong) == 1
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert not report["ok"]
    assert report["tasks_correct"] == report["tasks_expected"] - 1
    assert "expected 299" in report["wrong"][0]
    assert report["owed"] == 0
    assert {
        "messages", "events", "tasks_expected", "tasks_correct", "regressions",
        "salesforce_requests", "salesforce_rows", "events_ignored", "dead_letters",
        "dead_letters_expected", "seconds",
    } <= report.keys()  # fmt: skip


# -- its parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "path", "count"),
    [
        ([(1, 200), (2, 220)], (200, 220), 0),
        ([(2, 220)], (200, 220), 0),
        ([(1, 200), (1, 200), (2, 220), (2, 220)], (200, 220), 0),
        ([(1, 402), (3, 220)], (402, 102, 220), 0),
        ([(2, 220), (1, 200)], (200, 220), 1),
        ([(2, 220), (3, 200)], (200, 220), 1),
        ([(1, 200), (2, 402), (1, 200)], (200, 402, 200), 1),
        ([(1, 200), (1, 402)], (200, 402), 1),
        ([(1, 414)], (200, 220), 1),
        ([], (200, 220), 0),
    ],
)
def test_a_regression_is_an_older_version_or_a_status_that_came_before(
    values: Sequence[tuple[int, int]], path: tuple[int, ...], count: int
) -> None:
    assert regressions(writes(*values), path) == count


@pytest.mark.parametrize(
    ("task", "right"),
    [
        ({CODE_FIELD: "220", CATEGORY_FIELD: "Delivery"}, True),
        ({CODE_FIELD: 220.0, CATEGORY_FIELD: "Delivery"}, True),
        ({CODE_FIELD: "220", CATEGORY_FIELD: "Failed"}, False),
        ({CODE_FIELD: "200", CATEGORY_FIELD: "Delivery"}, False),
        ({}, False),
    ],
)
def test_a_task_is_right_with_code_and_category(task: dict[str, object], right: bool) -> None:
    assert is_right(task, Expectation("m", "T", 220, "Delivery", (220,))) is right


class SmallOrg:
    """Tasks and a log, as a test sets them."""

    def __init__(self, tasks: dict[str, dict[str, object]], log: list[Write]) -> None:
        self._tasks, self._log = tasks, log

    def task(self, task_id: str) -> dict[str, object]:
        return self._tasks[task_id]

    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]:
        return self._log


def test_the_judge_tells_which_task_is_wrong_and_which_was_never_asked_for() -> None:
    org = SmallOrg(
        {"T": {CODE_FIELD: "200", CATEGORY_FIELD: "Delivery"}},
        [*writes((1, 200)), *writes((1, 200), task_id="U")],
    )
    verdict = judge(org, {"T": Expectation("m", "T", 220, "Delivery", (200, 220))})
    assert (verdict.correct, verdict.regressions) == (0, 1)
    assert verdict.wrong == [
        "T has 200 (Delivery), expected 220 (Delivery)",
        "U was written, and no message names it",
    ]


def report(**changes: object) -> DemoReport:
    values: dict[str, object] = {
        "messages": 10, "events": 35, "tasks_expected": 9, "tasks_correct": 9, "regressions": 0,
        "salesforce_requests": 5, "salesforce_rows": 12, "api_calls": 4, "events_ignored": 3,
        "events_ignored_expected": 3, "dead_letters": 1, "dead_letters_expected": 1,
        "statuses_published": 20, "faults": {"lock": 2}, "finished": True, "seconds": 1.5,
        "events_per_second": 23.3, "seed": 7, "broker": "in-process", "owed": 0,
    } | changes  # fmt: skip
    return DemoReport(**values)  # type: ignore[arg-type]  # values by name


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks_correct": 8},
        {"regressions": 1},
        {"dead_letters": 0},
        {"dead_letters": 2},
        {"events_ignored": 2},
        {"finished": False},
        {"owed": 2},
        {"wrong": ("something",)},
    ],
)
def test_anything_that_is_not_right_makes_the_report_not_ok(changes: dict[str, object]) -> None:
    assert report().ok
    assert not report(**changes).ok
    assert "WRONG" in summary(report(**changes))
    assert "as it must be" in summary(report())


def test_all_that_a_person_reads_fits_into_eighty_columns() -> None:
    moments = (Moment(2.5, 102, 999.9, "late"), Moment(1_001.0, task=220))
    story = Story("m", "00T000000000001AAA", moments, 102, 220, 1)
    large = {
        "org_down": OrgDown(20.0, 1_000, 1_000_000, 1_000_000),
        "tasks_expected": 1_000_000, "tasks_correct": 1_000_000, "salesforce_rows": 2_000_000,
        "faults": {"lock": 2, "html": 1, "reset_after": 2, "session": 1, "unavailable": 20},
    }  # fmt: skip
    texts = summary(report(story=story, **large)), INTRODUCTION.format(messages=1_000_000)
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80


def test_progress_is_a_line_for_each_stage_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    lines = Lines(out)
    for stage in ("starting", "starting", "sending", "sending", "done"):
        lines.show(Progress(stage, 1.0, 10, 35, 8, 1, 0, 4, 2, 6, 1))
    lines.say("bye")
    texts = out.getvalue().splitlines()
    assert [text.split()[2] for text in texts[:-1]] == ["starting", "sending", "done"]
    assert texts[-1] == "bye"


def test_progress_goes_on_within_a_stage_and_ends_when_told_to() -> None:
    out = io.StringIO()
    lines = Lines(out, every_s=0.0)
    for consumed in (8, 9):
        lines.show(Progress("sending", 1.0, 10, 35, consumed, 1, 0, 4, 2, 6, 1))
    lines.end()
    lines.show(Progress("done", 1.0, 10, 35, 8, 1, 0, 4, 2, 6, 1))
    assert [text.split()[4] for text in out.getvalue().splitlines() if text] == ["8", "9"]


# -- as a person meets it ----------------------------------------------------------------------

TERMINAL_S = 60.0
SMALL = (sys.executable, "-m", "processor", "demo", "--messages", "40", "--no-faults")


class Terminal:
    """A command that believes it writes to a terminal."""

    def __init__(self, command: Sequence[str], term: str) -> None:
        self._fd, inner = pty.openpty()
        self.text = ""
        with os.fdopen(inner) as stream:
            self._process = subprocess.Popen(
                command, stdin=stream, stdout=stream, stderr=stream,
                env=os.environ | {"TERM": term}, start_new_session=True,
            )  # fmt: skip

    def read_until(self, wanted: str | None) -> None:
        """To this text, or to the end."""
        limit = Patience(TERMINAL_S)
        while wanted is None or wanted not in self.text:
            assert not limit.is_over(), self.text
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(self._fd, 65_536)
            except OSError:  # Linux's way to say that the other side has gone
                return
            if not read:
                return
            self.text += read.decode(errors="replace")

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        return self._process.wait(patient(TERMINAL_S))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.mark.slow
def test_a_dumb_terminal_sees_progress_and_an_end_with_nothing_owed() -> None:
    with closing(Terminal(SMALL, "dumb")) as terminal:
        terminal.read_until(None)
        assert terminal.exit_code() == 0
    assert "\x1b" not in terminal.text
    lines = terminal.text.splitlines()
    assert any(" sending " in line or " settling " in line for line in lines)
    (done,) = [line for line in lines if " done " in line]
    assert " owed 0 " in done
    assert "Everything is as it must be." in terminal.text


@pytest.mark.slow
@pytest.mark.parametrize(("term", "more"), [("dumb", ()), ("xterm", ("--keep",))])
def test_an_interrupted_demo_judges_nothing(term: str, more: tuple[str, ...]) -> None:
    with closing(Terminal((*SMALL, "--rate", "1", *more), term)) as terminal:
        terminal.read_until("sending")
        terminal.interrupt()
        terminal.read_until(None)
        assert terminal.exit_code() == 130
    assert "WRONG" not in terminal.text
    assert "Everything" not in terminal.text
    assert "Traceback" not in terminal.text


def test_what_the_demo_says_to_try_next_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [command.split() for command, _ in next_steps("processor")]
    assert 2 <= len(steps) <= 3
    for name, *words in steps:
        assert name == "processor"
        assert cli._parser().parse_args(words).command is not None
    assert cli.main(["codes"]) == 0
    assert "220" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv0", "path", "typed"),
    [
        (".venv/bin/processor", "/bin", ".venv/bin/processor"),
        ("{here}/.venv/bin/processor", "{here}/.venv/bin", "processor"),
        ("{here}/.venv/bin/processor", "/bin", ".venv/bin/processor"),
        ("/opt/venv/bin/processor", "/bin", "/opt/venv/bin/processor"),
        ("{here}/processor/__main__.py", "/bin", "python -m processor"),
    ],
)
def test_the_program_is_called_as_it_was_called(
    argv0: str, path: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / ".venv/bin/processor"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [argv0.format(here=tmp_path)])
    monkeypatch.setenv("PATH", path.format(here=tmp_path))
    assert program() == typed


@pytest.mark.parametrize("wrong", [["--messages", "0"], ["--rate", "-1"], ["--broker", "none"]])
def test_a_wrong_option_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(*wrong)

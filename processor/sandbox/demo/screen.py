"""What the demo shows while it runs, and in the end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol, TextIO

from processor.sandbox.demo.report import DemoReport
from processor.sandbox.demo.story import told
from processor.sandbox.org.faults import FaultKind

LINE_EVERY_S: Final = 2.0
ORG_IS_DOWN: Final = "org is down"

_FAULTS: Final[Mapping[str, str]] = {
    FaultKind.HTML: "HTML page",
    FaultKind.LOCK: "row locked",
    FaultKind.RESET_AFTER: "answer lost",
    FaultKind.SESSION: "session ended",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. `owed`: rows that Salesforce has yet to confirm."""

    stage: str
    seconds: float
    sent: int
    events: int
    consumed: int
    ignored: int
    dead_letters: int
    owed: int
    requests: int
    rows: int
    faults: int


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, progress: Progress) -> None: ...
    def say(self, text: str) -> None: ...
    def end(self) -> None:
        """Show no more progress."""


class Lines:
    """A line every few seconds, for logs, pipes, and terminals that can't go back."""

    def __init__(self, out: TextIO, every_s: float = LINE_EVERY_S) -> None:
        self._out = out
        self._every_s = every_s
        self._next_s = 0.0
        self._stage = ""
        self._ended = False

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def end(self) -> None:
        if not self._ended:
            self.say("")
        self._ended = True

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._ended or (progress.stage == self._stage and now < self._next_s):
            return
        self._next_s, self._stage = now + self._every_s, progress.stage
        self.say(
            f"{progress.seconds:5.1f} s  {progress.stage:<11}  "
            f"reports {progress.consumed:,} of {progress.events:,}  owed {progress.owed:,}  "
            f"written {progress.rows:,}  faults {progress.faults:,}"
        )


@contextmanager
def make_screen(*, as_json: bool) -> Iterator[Screen]:
    """A table that lives where there is a terminal that can go back, and rich; else lines. With
    JSON, which has standard output to itself, they go to standard error.
    """
    out = sys.stderr if as_json else sys.stdout
    is_dumb = os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown", "")
    if is_dumb or not out.isatty() or find_spec("rich") is None:
        yield Lines(out)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    class _Live:
        """A table that is drawn again and again."""

        def __init__(self, live: Live) -> None:
            self._live = live

        def say(self, text: str) -> None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

        def end(self) -> None:
            self._live.stop()

        def show(self, progress: Progress) -> None:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="dim")
            table.add_column(justify="right")
            table.add_column(width=30)
            sent = ProgressBar(total=progress.events, completed=progress.sent)
            consumed = ProgressBar(total=progress.events, completed=progress.consumed)
            style = "bold red" if progress.stage == ORG_IS_DOWN else "bold"
            table.add_row(f"{progress.seconds:.1f} s", f"[{style}]{progress.stage}[/]", "")
            table.add_row("reports sent", f"{progress.sent:,}", sent)
            table.add_row("reports processed", f"{progress.consumed:,}", consumed)
            table.add_row("without a Task", f"{progress.ignored:,}", "")
            table.add_row("dead letters", f"{progress.dead_letters:,}", "")
            table.add_row("rows owed", f"{progress.owed:,}", "")
            table.add_row("rows written", f"{progress.rows:,}", "")
            table.add_row("requests", f"{progress.requests:,}", "")
            table.add_row("faults met", f"{progress.faults:,}", "")
            self._live.update(table)

    with Live(console=Console(file=out), transient=True) as live:
        yield _Live(live)


def summary(report: DemoReport) -> str:
    """The report for a person, 80 columns wide."""
    lines = [
        (
            f"{report.events:,} delivery reports of {report.messages:,} messages, in "
            f"{report.seconds:.1f} s (broker: {report.broker}, seed {report.seed})"
        ),
        "",
        *(f"  {name:<15} {text}" for name, text in _results(report)),
        "",
    ]
    if report.ok and report.story is not None:
        lines += [*told(report.story), ""]
    if not report.finished:
        lines.append("NOT FINISHED in time: rows are still owed, or reports were not read.")
    lines += report.wrong
    if not report.ok:
        return "\n".join([*lines, "WRONG."])
    steps = next_steps(program())
    width = max(len(command) for command, _ in steps)
    lines += ["Everything is as it must be. What next?", ""]
    lines += [f"  {command:<{width}}  {what}" for command, what in steps]
    lines += ["", 'Your own Kafka and org: README.md, "Run it against your own Kafka and org".']
    return "\n".join(lines)


def _results(report: DemoReport) -> Iterator[tuple[str, str]]:
    right = f"{report.tasks_correct:,} of {report.tasks_expected:,}"
    yield "Tasks right", f"{right}, as an independent oracle has it"
    rows = f"{report.salesforce_rows:,} rows in {report.salesforce_requests:,} requests"
    yield "steps back", f"{report.regressions:,}, in {rows}"
    yield "still owed", f"{report.owed:,} rows"
    ignored = f"{report.events_ignored:,} of {report.events_ignored_expected:,}"
    yield "without a Task", f"{ignored} reports, ignored"
    letters = f"{report.dead_letters:,} of {report.dead_letters_expected:,}"
    yield "dead letters", f"{letters} reports that can't be used"
    if (down := report.org_down) is not None:
        yield "org down", f"for {down.seconds:.1f} s, met by {down.requests:,} requests; meanwhile"
        yield "", f"{down.events:,} reports were consumed and {down.owed:,} rows owed;"
        yield "", "after: all written" if report.ok else "after: not all is right"
    faults = [
        f"{count:,}× {_FAULTS.get(kind, kind)}"
        for kind, count in sorted(report.faults.items())
        if kind != FaultKind.UNAVAILABLE
    ]
    yield "other faults", ", ".join(faults) or "none"


def program() -> str:
    """How this program was called: what a person has to type to call it again."""
    path = Path(sys.argv[0])
    if path.stem != "processor":
        return "python -m processor"
    if path.is_absolute() and shutil.which(path.name) == str(path):
        return path.name  # a shell has found it on the PATH
    with suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def next_steps(processor: str) -> list[tuple[str, str]]:
    """Commands to try, and what they show."""
    return [
        (f"{processor} demo --messages 20000 --seed 2", "more, and other ones"),
        (f"{processor} demo --keep", "with /metrics to look at"),
        (f"{processor} codes", "what the numbers mean"),
    ]

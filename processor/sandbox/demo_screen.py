"""What the demo shows while it runs, and in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Protocol, TextIO

from processor.sandbox.demo import DemoReport

LINE_EVERY_S: Final = 2.0


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


class Lines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next_s = 0.0
        self._stage = ""

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and (now < self._next_s or self._stage == "done"):
            return
        self._next_s, self._stage = now + LINE_EVERY_S, progress.stage
        print(
            f"{progress.seconds:5.1f} s  {progress.stage:<11} "
            f"reports {progress.consumed:,} of {progress.events:,} (sent {progress.sent:,})  "
            f"owed {progress.owed:,}  rows {progress.rows:,} in {progress.requests:,} requests  "
            f"dead letters {progress.dead_letters:,}  faults {progress.faults:,}",
            file=self._out,
            flush=True,
        )


@contextmanager
def make_screen(*, as_json: bool) -> Iterator[Screen]:
    """A table that lives where there is a terminal and rich; else lines. With JSON, which has
    standard output to itself, they go to standard error.
    """
    out = sys.stderr if as_json else sys.stdout
    if not out.isatty() or find_spec("rich") is None:
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
            self._live.console.print(text)

        def show(self, progress: Progress) -> None:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="dim")
            table.add_column(justify="right")
            table.add_column(width=30)
            sent = ProgressBar(total=progress.events, completed=progress.sent)
            consumed = ProgressBar(total=progress.events, completed=progress.consumed)
            table.add_row(f"{progress.seconds:.1f} s", progress.stage, "")
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
    """The report for a person."""
    per_message = report.salesforce_rows / report.messages
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(report.faults.items()))
    title = (
        f"{report.events:,} delivery reports of {report.messages:,} messages, in "
        f"{report.seconds:.1f} s (broker: {report.broker}, seed {report.seed})"
    )
    rows = f"{report.salesforce_rows:,} rows ({per_message:.2f} a message)"
    lines = [
        title,
        "",
        f"  Tasks right     {report.tasks_correct:,} of {report.tasks_expected:,}",
        f"  regressions     {report.regressions:,}",
        f"  without a Task  {report.events_ignored:,} of {report.events_ignored_expected:,}",
        f"  dead letters    {report.dead_letters:,} of {report.dead_letters_expected:,}",
        f"  statuses        {report.statuses_published:,} published",
        f"  Salesforce      {rows} in {report.salesforce_requests:,} requests",
        f"  faults met      {faults or 'none'}",
        "",
    ]
    if not report.finished:
        lines.append("NOT FINISHED in time: rows are still owed, or reports were not read.")
    lines += report.wrong
    lines.append("Everything is as it must be." if report.ok else "WRONG.")
    return "\n".join(lines)

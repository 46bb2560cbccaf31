"""`processor demo`: the whole job in one process, and a judgement of what came of it.

    traffic -> broker (in this process, or a real Kafka) -> the worker -> a sandbox org
                                                            down for a while, locks, lost answers

In the end every Task is compared with what an independent oracle says of its reports, the org's
log of writes is searched for steps back, and the dead letters are counted. Any difference is a
failure. Start reading at `run.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from processor.sandbox.demo.outage import OrgDown
    from processor.sandbox.demo.story import Story
    from processor.sandbox.traffic.generator import Traffic
    from processor.sandbox.traffic.oracle import Expected

DEFAULT_MESSAGES: Final = 2_000
BROKERS: Final = ("in-process", "kafka")


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
    took a Task back, see `demo_judge`. `owed`: rows that Salesforce had yet to confirm in the end.
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `processor demo`."""
    parser.description = (
        "Runs the whole job here, with nothing to install: made-up delivery reports, a broker, "
        "the processor, and a Salesforce org that misbehaves. Exits with 1 if any Task is wrong."
    )
    parser.add_argument(
        "--messages", type=_count, default=DEFAULT_MESSAGES, help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, help="other traffic (default: %(default)s)")
    parser.add_argument(
        "--broker", choices=BROKERS, default=BROKERS[0],
        help="kafka starts a real Apache Kafka, with Java and Maven (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=_rate, metavar="N",
        help="reports per second; 0: as fast as possible (default: all within a few seconds)",
    )  # fmt: skip
    parser.add_argument(
        "--faults",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let the org fail in ways that Salesforce does (default: yes)",
    )
    parser.add_argument("--keep", action="store_true", help="when done, go on until interrupted")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def main(arguments: argparse.Namespace, oracle: Callable[[Traffic], Expected] | None = None) -> int:
    """Run the demo, print its report. 0: everything is right, else 1. Raises as `run_demo`."""
    options = DemoOptions(
        messages=arguments.messages,
        seed=arguments.seed,
        broker=arguments.broker,
        rate=arguments.rate,
        faults=arguments.faults,
        keep=arguments.keep,
        json=arguments.json,
    )
    try:
        with _quiet():
            report = run_demo(options, oracle)
    except KeyboardInterrupt:
        print("Interrupted: nothing was judged.", file=sys.stderr)
        raise
    if options.json:
        print(json.dumps(asdict(report) | {"ok": report.ok}))
    return 0 if report.ok else 1


@contextmanager
def _quiet() -> Iterator[None]:
    """The org's faults are on purpose, and not worth a warning."""
    log = logging.getLogger("processor")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def run_demo(
    options: DemoOptions, oracle: Callable[[Traffic], Expected] | None = None
) -> DemoReport:
    """Run it to the end, show its report. `oracle` says what must come of the traffic.

    Raises ConfigError (Java is missing, for one), Unavailable, StopProcessing, and
    KeyboardInterrupt before there is a report.
    """
    from processor.sandbox.demo.run import Demo
    from processor.sandbox.demo.screen import make_screen
    from processor.sandbox.traffic.oracle import expected

    with make_screen(as_json=options.json) as screen:
        return Demo(options, oracle or expected, screen).run()

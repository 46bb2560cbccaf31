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
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from processor.runtime.logs import set_up_logging
from processor.sandbox.demo.report import DEFAULT_MESSAGES, DemoOptions, DemoReport

if TYPE_CHECKING:
    from processor.sandbox.traffic.generator import Traffic
    from processor.sandbox.traffic.oracle import Expected

BROKERS: Final = ("in-process", "kafka")


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
    if not logging.getLogger().handlers:  # else a line would lose its fields
        set_up_logging("WARNING")
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

"""The command line: reads arguments, composes the parts, turns errors into exit codes.

Exit codes: 0 done · 1 stopped, or what was checked is wrong · 2 a setting or an argument is
wrong · 75 a far side did not answer (try again) · 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from processor import FORM
from processor.commands.exit_codes import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_WRONG,
    EXPECTED,
    exit_code,
)
from processor.errors import StopProcessing

_DESCRIPTION = """\
Shows on Salesforce Tasks what became of each SMS: delivery reports from Kafka are collapsed into
one status per message.

  processor demo             run the whole pipeline on this machine, with nothing to install
  processor check            check that Kafka, the registry and the org are ready for `run`
  processor run              process events until stopped by SIGTERM or SIGINT

Settings come from a TOML file (--config) and from the environment (PROCESSOR_KAFKA__GROUP_ID=...);
`processor settings` lists them with their defaults, `processor validate` checks them.
"""

_REKEY = """\
Each record of RAW_TOPIC is copied exactly once to KAFKA__EVENTS_TOPIC, with the message id as its
key. Value, headers and timestamp stay the same. A record that cannot be decoded keeps its old key
and becomes a dead letter of `processor run`. If most of the first records cannot be decoded,
RAW_TOPIC is probably the wrong topic, and nothing is copied.

Several processes share the partitions. Both topics have to exist, and KAFKA__EVENTS_TOPIC has to
keep records that are as old as the oldest one of RAW_TOPIC (retention.ms).

Partitions are copied in parallel, not in the order of time. If the backlog is older than
STATE__RETENTION_S, set that to more than its age until `processor run` has read it. Otherwise late
reports of messages that it has not seen yet become dead letters (too_late).
"""

_FORGET = """\
Stop every process of the consumer group first; otherwise the process that owns the message would
write it again from its local store. The command then writes a tombstone to the status topic, in the
partition of the message. Each process removes the message from its local store when it starts. The
broker removes the older records of the message when it compacts the topic (after segment.ms, which
is one day in a topic that `run` has created).

Three places are not touched, and are yours to clean up: the message's events in the events topic
(if they are read again, or new ones arrive, the message is known again), its dead letters, and the
Task in Salesforce.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EXPECTED as error:
        stopped = "stopped: " if isinstance(error, StopProcessing) else ""
        print(f"processor: {stopped}{error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, which is its right
        return EXIT_WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="processor",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(command=_helping(parser))
    _run(_with_config(commands, "run", "process events until stopped"))
    _check(
        _with_config(
            commands, "check", "check that Kafka, the registry and the org are ready for run"
        )
    )
    _produce(
        _with_config(commands, "produce", "write delivery reports (JSON Lines) to the events topic")
    )
    _rekey(_with_config(commands, "rekey", "copy events to the events topic, keyed by message id"))
    _forget(
        _with_config(commands, "forget", "erase one message (for requests to delete personal data)")
    )
    _schemas(commands)
    _health(_with_config(commands, "health", "check that the process on this machine is healthy"))
    _demo(commands.add_parser("demo", help="run the whole pipeline with a sandbox broker and org"))
    _codes(commands.add_parser("codes", help="list the status codes"))
    _settings(
        _with_config(commands, "settings", "list the settings with type, default and meaning")
    )
    _validate(_with_config(commands, "validate", "check the settings without contacting anything"))
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only then: that takes a while."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        what = "show program's version number and exit"
        super().__init__(option_strings, dest, nargs=0, help=what)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"sms-status-processor {version('sms-status-processor')} ({FORM})")
        parser.exit()


def _helping(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """For want of a command."""

    def command(_options: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return EXIT_CONFIG

    return command


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def _with_config(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("--config", metavar="FILE", help="TOML file (default: $PROCESSOR_CONFIG)")
    return parser


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once",
        action="store_true",
        help="read the events that exist at the start, wait until Salesforce has confirmed every "
        "row, and exit",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="with --once: exit with 1 if rows are still unconfirmed after SECONDS",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.run import run

        if options.timeout is not None and not options.once:
            parser.error(
                "--timeout is only for --once; without --once, run goes on until it is stopped"
            )
        return run(options.config, once=options.once, timeout_s=options.timeout)

    parser.set_defaults(command=command)


def _check(parser: argparse.ArgumentParser) -> None:
    def command(options: argparse.Namespace) -> int:
        from processor.commands.check import check

        return check(options.config)

    parser.set_defaults(command=command)


def _produce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="file with one JSON report per line; - reads standard input"
    )
    parser.add_argument(
        "--keep-time",
        action="store_true",
        help="give each Kafka record the time of its report instead of the current time, to "
        "backfill old reports (retention.ms of the topic must exceed their age, or Kafka deletes "
        "them at once)",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.produce.command import produce

        return produce(options.config, options.file, keep_time=options.keep_time)

    parser.set_defaults(command=command)


def _rekey(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _REKEY
    parser.add_argument("raw_topic", metavar="RAW_TOPIC", help="topic to copy from")
    parser.add_argument(
        "--group",
        metavar="GROUP",
        help="consumer group that reads RAW_TOPIC (default: KAFKA__GROUP_ID-rekey)",
    )
    parser.add_argument(
        "--once", action="store_true", help="copy the records that exist at the start, and exit"
    )
    parser.add_argument(
        "--undecodable",
        action="store_true",
        help="copy even if most of the first records cannot be decoded (by default this is "
        "refused, so that a wrong RAW_TOPIC does not fill the events topic)",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.rekey.command import rekey

        return rekey(
            options.config,
            options.raw_topic,
            group=options.group,
            once=options.once,
            undecodable=options.undecodable,
        )

    parser.set_defaults(command=command)


def _forget(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _FORGET
    parser.add_argument("message_id", metavar="MESSAGE_ID", help="id of the message to erase")

    def command(options: argparse.Namespace) -> int:
        from processor.commands.forget.command import forget

        return forget(options.config, options.message_id)

    parser.set_defaults(command=command)


def _schemas(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("schemas", help="register the Avro schemas")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND")
    group.set_defaults(command=_helping(group))
    register = _with_config(verbs, "register", "register the Avro schemas with the Schema Registry")

    def command(options: argparse.Namespace) -> int:
        from processor.commands.schemas import register

        return register(options.config)

    register.set_defaults(command=command)


def _health(parser: argparse.ArgumentParser) -> None:
    def command(options: argparse.Namespace) -> int:
        from processor.commands.health import health

        return health(options.config)

    parser.set_defaults(command=command)


def _demo(parser: argparse.ArgumentParser) -> None:
    from processor.sandbox.demo import command as demo

    demo.add_arguments(parser)
    parser.set_defaults(command=demo.main)


def _codes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON array instead of a table"
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.codes import show_codes

        return show_codes(as_json=options.json)

    parser.set_defaults(command=command)


def _settings(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON array instead of a table")
    form.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of the TOML file"
    )
    form.add_argument(
        "--effective",
        action="store_true",
        help="print each setting's value in force, with secrets masked, and where it was set",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.settings import show

        if options.effective:
            return show.effective(options.config)
        return show.schema() if options.schema else show.table(as_json=options.json)

    parser.set_defaults(command=command)


def _validate(parser: argparse.ArgumentParser) -> None:
    def command(options: argparse.Namespace) -> int:
        from processor.commands.settings.validate import validate

        return validate(options.config)

    parser.set_defaults(command=command)

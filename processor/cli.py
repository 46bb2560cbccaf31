"""The command line: reads arguments, composes the parts, turns errors into exit codes.

Exit codes: 0 done · 1 stopped, or what was checked is wrong · 2 a setting or an argument is
wrong · 75 a far side did not answer (try again) · 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from processor.commands.exit_codes import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_UNAVAILABLE,
    EXIT_WRONG,
)
from processor.errors import ConfigError, StopProcessing, Unavailable

_DESCRIPTION = """\
Carries SMS delivery reports from Kafka to Salesforce Tasks: one true status per message.

  processor demo             see the whole job at work, here, with nothing to install
  processor check            are the broker, the topics, the registry and the org as they must be?
  processor run              process events until told to stop (SIGTERM, SIGINT)

Settings come from a TOML file (--config) and the environment (PROCESSOR_KAFKA__GROUP_ID=...);
`processor settings` lists them with their defaults.
"""

_REKEY = """\
Each record of RAW_TOPIC goes to KAFKA__EVENTS_TOPIC, exactly once, with the message id as its key;
value, headers and timestamp stay. What can't be decoded goes there under its old key, and becomes
a dead letter of `processor run`; where that is most of the first records, nothing is copied: it is
the wrong topic, most likely. Several processes share the partitions. Both topics have to be
there, and the one that is written must keep records of that age (retention.ms).

Partitions are copied side by side, not in the order of time: where the backlog is older than
STATE__RETENTION_S, set that longer until `processor run` has read it, or late reports of messages
that it has not seen become dead letters (too_late).
"""

_FORGET = """\
Stop every process of the group first: an owner would write the message again from its local
store. Then this writes a tombstone to the status topic, in the partition where the message is,
and each process drops the message from its store when it starts. The broker removes the older
records of the message when it compacts the topic (after segment.ms, a day by default).

Not touched: events of the message in the events topic (if they are read again, or new ones come,
it is known again), its dead letters, and the Task in Salesforce. Those are yours to remove.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(f"processor: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except StopProcessing as error:
        print(f"processor: stopped: {error}", file=sys.stderr)
        return EXIT_WRONG
    except Unavailable as error:
        print(f"processor: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
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
    parser.add_argument("--version", action="version", version=version("sms-status-processor"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(command=_helping(parser))
    _run(_with_config(commands, "run", "process events until told to stop"))
    _check(_with_config(commands, "check", "check the broker, topics, registry and org"))
    _produce(_with_config(commands, "produce", "delivery reports (JSON Lines) -> the events topic"))
    _rekey(_with_config(commands, "rekey", "copy events to a topic that is keyed by message id"))
    _forget(_with_config(commands, "forget", "erase one message (personal-data requests)"))
    _schemas(commands)
    _health(_with_config(commands, "health", "ask the process on this machine whether it is well"))
    _demo(commands.add_parser("demo", help="the whole job on a sandbox broker and org"))
    _codes(commands.add_parser("codes", help="the catalogue of status codes"))
    settings = commands.add_parser("settings", help="every setting, its type and default")
    settings.set_defaults(command=_settings_command)
    return parser


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
    parser = commands.add_parser(name, help=what, description=what.capitalize() + ".")
    parser.add_argument("--config", metavar="FILE", help="TOML file (default: $PROCESSOR_CONFIG)")
    return parser


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once",
        action="store_true",
        help="read to the end that was there at the start, wait until nothing is owed, and exit",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="with --once: exit with 1 when something is still owed after so long",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.run import run

        if options.timeout is not None and not options.once:
            parser.error(
                "--timeout is only for --once; without it, run goes on until it is stopped"
            )
        return run(options.config, once=options.once, timeout_s=options.timeout)

    parser.set_defaults(command=command)


def _check(parser: argparse.ArgumentParser) -> None:
    def command(options: argparse.Namespace) -> int:
        from processor.commands.check import check

        return check(options.config)

    parser.set_defaults(command=command)


def _produce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="one JSON report a line; - reads stdin")
    parser.add_argument(
        "--keep-time",
        action="store_true",
        help="records carry the reports' own times: for a backfill of old reports (a topic whose "
        "retention.ms is shorter than they are old deletes them at once)",
    )

    def command(options: argparse.Namespace) -> int:
        from processor.commands.produce.command import produce

        return produce(options.config, options.file, keep_time=options.keep_time)

    parser.set_defaults(command=command)


def _rekey(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _REKEY
    parser.add_argument("raw_topic", metavar="RAW_TOPIC", help="copy from here")
    parser.add_argument(
        "--group", metavar="GROUP", help="the group that reads (default: KAFKA__GROUP_ID-rekey)"
    )
    parser.add_argument(
        "--once", action="store_true", help="copy to the end that is there, and exit"
    )
    parser.add_argument(
        "--undecodable",
        action="store_true",
        help="go on though most of the first records can't be decoded (else it refuses: a wrong "
        "topic would fill the events topic)",
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
    parser.add_argument("message_id", metavar="MESSAGE_ID")

    def command(options: argparse.Namespace) -> int:
        from processor.commands.forget.command import forget

        return forget(options.config, options.message_id)

    parser.set_defaults(command=command)


def _schemas(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("schemas", help="the Avro schemas")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND")
    group.set_defaults(command=_helping(group))
    register = _with_config(verbs, "register", "register the schemas with the Schema Registry")

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
    parser.add_argument("--json", action="store_true", help="one JSON array")

    def command(options: argparse.Namespace) -> int:
        from processor.commands.catalogue import show_codes

        return show_codes(as_json=options.json)

    parser.set_defaults(command=command)


def _settings_command(_options: argparse.Namespace) -> int:
    from processor.commands.catalogue import show_settings

    return show_settings()

"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from processor import FORM
from processor.cli import main
from processor.commands.exit_codes import EXIT_WRONG
from processor.config.schema import known_settings
from processor.errors import StopProcessing


@pytest.fixture(autouse=True)
def _sigterm_as_before() -> Iterator[None]:
    """`run` leaves it ignored, for the process that it ends."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_codes_prints_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert lines[9].split()[:4] == ["221", "Delivery", "ON_HANDSET", "final"]


def test_codes_as_json_can_be_read_by_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "--json"]) == 0
    codes = {row["code"]: row for row in json.loads(capsys.readouterr().out)}
    assert codes[401] == {
        "code": 401,
        "category": "Failed",
        "stage": "UNDELIVERED",
        "final": True,
        "text": "Message validity period has expired (before delivery)",
    }


def test_settings_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    printed = capsys.readouterr().out
    assert [name for name in known_settings() if f"PROCESSOR_{name}\n" not in printed] == []


@pytest.mark.parametrize(
    "command", ["", "run", "check", "produce", "rekey", "forget", "demo", "schemas"]
)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "usage: processor" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["check"],
        ["produce", "-"],
        ["rekey", "raw"],
        ["forget", "m"],
        ["schemas", "register"],
    ],
    ids=" ".join,
)
def test_missing_settings_exit_with_2_and_say_which(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in known_settings():
        monkeypatch.delenv(f"PROCESSOR_{name}", raising=False)
    assert main(command) == 2
    wanted = "SCHEMA_REGISTRY__URL" if command[0] == "schemas" else "KAFKA__BOOTSTRAP_SERVERS"
    assert f"PROCESSOR_{wanted}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "produce -", "rekey raw", "forget m"])
def test_what_the_kafka_client_refuses_is_told_with_the_rest(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong, told in {
        '{"no.such.property": 1}': 'No such configuration property: "no.such.property"',
        '{"acks": 1}': "acks can't be set",
        '{"security.protocol": "SSL", "ssl.ca.location": "/none"}': "ssl.ca.location",
        '{"linger.ms": "soon"}': "queue.buffering.max.ms",  # its other name
        '{"fetch.min.bytes": -1}': "fetch.min.bytes",
    }.items():
        monkeypatch.setenv("PROCESSOR_KAFKA__OPTIONS", wrong)
        monkeypatch.setenv("PROCESSOR_HTTP__PORT", "x")
        assert main(command.split()) == 2
        said = capsys.readouterr().err
        assert "PROCESSOR_HTTP__PORT: is not a number" in said
        (line,) = [line for line in said.splitlines() if "PROCESSOR_KAFKA__OPTIONS: " in line]
        assert told in line


@pytest.mark.parametrize("command", ["", "schemas"])
def test_without_a_command_the_help_says_which_there_are(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run --timeout 5", "--timeout is only for --once"),
        ("run --once --timeout nan", "invalid"),
        ("run --once --timeout -1", "invalid"),
        ("run --once --timeout soon", "invalid"),
    ],
)
def test_arguments_that_make_no_sense_exit_with_2(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_file_that_is_not_there_exits_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROCESSOR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert main(["produce", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_a_broker_that_does_not_answer_exits_with_75(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SALESFORCE__ENDPOINT_URL": "http://127.0.0.1:1",
        "SALESFORCE__CONSUMER_KEY": "key",
        "SALESFORCE__CONSUMER_SECRET": "secret",
        "STATE__DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"PROCESSOR_{name}", value)
    assert main(["run"]) == 75
    assert "sms.delivery-events" in capsys.readouterr().err


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "processor", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"sms-status-processor {version('sms-status-processor')} ({FORM})\n"


def test_a_signal_while_run_ends_does_not_change_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python takes a while to end; it was killed by a SIGTERM then, whatever `run` had returned.
    SIGINT is as before: a Ctrl-C still ends a program that goes on.
    """
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SALESFORCE__ENDPOINT_URL": "http://127.0.0.1:1",
        "SALESFORCE__CONSUMER_KEY": "key",
        "SALESFORCE__CONSUMER_SECRET": "secret",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"PROCESSOR_{name}", value)
    monkeypatch.setattr("processor.commands.run.prepare", _stopped)
    interrupt = signal.getsignal(signal.SIGINT)
    assert main(["run"]) == EXIT_WRONG
    os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)) == (interrupt, -1)


def _stopped() -> None:
    raise StopProcessing("as told")

"""No secret setting, in whatever way it is written, is in anything that is printed or told."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from processor.cli import main
from processor.commands.loading import kafka_problems
from processor.config.load import load_settings
from processor.config.schema import known_settings
from processor.config.settings import Settings
from processor.errors import ConfigError

HUSH = "hush-\u00e9-hush"  # in no word of ours
SECRET_OPTIONS = """
    sasl.password
    sasl.jaas.config
    sasl.oauthbearer.client.secret
    sasl.oauthbearer.client.credentials.client.secret
    sasl.oauthbearer.assertion.private.key.passphrase
    sasl.oauthbearer.assertion.private.key.pem
    sasl.oauthbearer.config
    ssl.key.password
    ssl.key.pem
    ssl.certificate.pem
    ssl.keystore.password
    basic.auth.user.info
    bearer.auth.token
    bearer.auth.client.secret
""".split()
"""Of librdkafka and of the Schema Registry's client."""


class Secret(NamedTuple):
    """A setting, or an option in one, and a value with a secret inside that is like no other."""

    name: str
    option: str | None
    value: str

    @property
    def variable(self) -> str:
        if self.option is None:
            return f"PROCESSOR_{self.name}"
        return f"PROCESSOR_{self.name}__{self.option.replace('.', '_').upper()}"

    def of(self, settings: Settings) -> object:
        section, _, key = self.name.lower().partition("__")
        value = getattr(getattr(settings, section), key)
        return value if self.option is None else value[self.option]


def secrets() -> Iterator[Secret]:
    for name, entry in known_settings().items():
        match entry.get("format"):
            case "password":
                yield Secret(name, None, f"{HUSH} of {name}")
            case "uri":
                yield Secret(name, None, f"https://user:{HUSH}of{name}@host")
        if name.endswith("__OPTIONS"):
            yield from (Secret(name, option, f"{HUSH} of {option}") for option in SECRET_OPTIONS)


ALL = list(secrets())


def by_variable(_: Path) -> dict[str, str]:
    return {secret.variable: secret.value for secret in ALL}


def by_named_file(folder: Path) -> dict[str, str]:
    return {f"{secret.variable}_FILE": str(written(secret, folder)) for secret in ALL}


def by_directory(folder: Path) -> dict[str, str]:
    for secret in ALL:
        written(secret, folder)
    return {"PROCESSOR_SECRETS_DIR": str(folder)}


def by_map(_: Path) -> dict[str, str]:
    maps: dict[str, dict[str, str]] = {}
    for secret in ALL:
        if secret.option is not None:
            maps.setdefault(f"PROCESSOR_{secret.name}", {})[secret.option] = secret.value
    alone = {secret.variable: secret.value for secret in ALL if secret.option is None}
    return alone | {name: json.dumps(options) for name, options in maps.items()}


def by_key(folder: Path) -> dict[str, str]:
    return in_toml(folder, {secret: ("", secret.value) for secret in ALL})


def by_key_of_file(folder: Path) -> dict[str, str]:
    return in_toml(folder, {secret: ("_file", str(written(secret, folder))) for secret in ALL})


def written(secret: Secret, folder: Path) -> Path:
    path = folder / secret.variable.lower()
    path.write_text(secret.value + "\n")
    return path


def in_toml(folder: Path, values: dict[Secret, tuple[str, str]]) -> dict[str, str]:
    lines = []
    for secret, (ending, value) in values.items():
        whole = secret.name.lower().replace("__", ".")
        key = f"{whole}{ending}" if secret.option is None else f'{whole}."{secret.option}{ending}"'
        lines.append(f"{key} = {json.dumps(value)}\n")
    file = folder / "processor.toml"
    file.write_text("".join(lines))
    return {"PROCESSOR_CONFIG": str(file)}


WAYS = [by_variable, by_named_file, by_directory, by_map, by_key, by_key_of_file]


@pytest.mark.parametrize("way", WAYS)
def test_every_secret_is_read_and_none_is_shown(
    way: Callable[[Path], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    environ = way(tmp_path)
    settings = load_settings(None, environ, needs=())
    assert [secret.of(settings) for secret in ALL] == [secret.value for secret in ALL]
    assert HUSH not in repr(settings) + str(settings)
    assert HUSH not in "".join(repr(section) for _, section in settings)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["settings", "--effective"]) == 0
    assert capfd.readouterr().out.count("***") == len(ALL)
    assert main(["validate"]) == 2
    for name in ("LOG__LEVEL", "KAFKA__SESSION_TIMEOUT_S", "KAFKA__GRUOP_ID"):
        monkeypatch.setenv(f"PROCESSOR_{name}", HUSH)
    assert main(["settings", "--effective"]) == main(["validate"]) == 2
    printed = capfd.readouterr()
    assert "PROCESSOR_LOG__LEVEL: is none of" in printed.err
    assert HUSH not in printed.out + printed.err


def test_what_came_from_a_file_of_its_own_is_secret_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret"
    path.write_text(HUSH)
    monkeypatch.setenv("PROCESSOR_KAFKA__OPTIONS__SECURITY_PROTOCOL_FILE", str(path))
    assert HUSH not in repr(load_settings(None, needs=()))
    assert main(["settings", "--effective"]) == 0
    assert main(["validate"]) == 2  # and librdkafka's words repeat the value
    printed = capfd.readouterr()
    assert 'Invalid value "***"' in printed.err
    assert HUSH not in printed.out + printed.err


def test_every_secret_is_known_to_be_one() -> None:
    names = {secret.name for secret in ALL}
    assert names >= {"SALESFORCE__CONSUMER_KEY", "SALESFORCE__CONSUMER_SECRET"}
    assert names >= {"SALESFORCE__ENDPOINT_URL", "SCHEMA_REGISTRY__URL"}
    assert names >= {"KAFKA__OPTIONS", "SCHEMA_REGISTRY__OPTIONS"}


@pytest.mark.parametrize("option", [s.option for s in ALL if s.name == "KAFKA__OPTIONS"])
def test_what_librdkafka_says_of_a_secret_does_not_repeat_it(option: str) -> None:
    settings = load_settings(
        None, {"PROCESSOR_KAFKA__OPTIONS": json.dumps({option: HUSH})}, needs=()
    )
    assert HUSH not in "".join(kafka_problems(settings))


WRONG = [HUSH, f"{HUSH}://x", f'["{HUSH}", 1]', f'{{"a": "{HUSH}", "b": 1, "c": [1]}}']


def told(name: str, value: str) -> str:
    """All that a traceback could show; empty: the value is taken."""
    try:
        load_settings(None, {f"PROCESSOR_{name}": value}, needs=())
    except ConfigError as error:
        return "".join(traceback.format_exception(error))
    return ""


@pytest.mark.parametrize("name", list(known_settings()))
def test_a_wrong_value_is_told_without_it(name: str) -> None:
    for value in WRONG:
        assert HUSH not in told(name, value)

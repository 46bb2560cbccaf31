"""`processor settings` in its forms, and `processor validate`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from processor.cli import main
from processor.config.load import load_settings
from processor.config.schema import describe_settings, file_schema, known_settings
from processor.config.settings import Settings
from processor.errors import ConfigError

FILE = """
[kafka]
bootstrap_servers = "a:1,b:1"
events_partitions = 6
[kafka.options]
security.protocol = "SASL_SSL"
sasl.mechanism = "PLAIN"
sasl.username = "me"
sasl.password_file = "SECRET"
"fetch.min.bytes" = 1
"socket.keepalive.enable" = true
[events]
time_fields = ["submitted_date"]
[salesforce]
domain = "acme.my"
consumer_key = "key"
consumer_secret_file = "SECRET"
linger_s = 0
[salesforce.fields]
Code__c = "code"
[log]
format = "json"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    secret, path = tmp_path / "secret", tmp_path / "processor.toml"
    secret.write_text("hush\n")
    path.write_text(FILE.replace("SECRET", str(secret)))
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


# -- the list ----------------------------------------------------------------------------------


def test_the_list_as_json_has_what_the_text_has(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, "settings", "--json"))
    assert [row["variable"] for row in rows] == [f"PROCESSOR_{s.name}" for s in describe_settings()]
    text = printed(capsys, "settings")
    for row in rows:
        told = (
            f"{row['variable']}\n    {row['type']}, default {row['default']}\n    {row['help']}\n"
        )
        assert told in text


def test_large_numbers_are_written_out() -> None:
    defaults = {row.name: row.default for row in describe_settings()}
    assert defaults["KAFKA__DEAD_LETTER_RETENTION_S"] == "2592000"
    assert defaults["STATE__MAP_LIMIT_BYTES"] == "68719476736"


def test_a_form_of_the_list_excludes_the_others() -> None:
    with pytest.raises(SystemExit):
        main(["settings", "--json", "--effective"])


def test_help_and_codes_answer_without_the_settings() -> None:
    program = (
        "import contextlib, sys\n"
        "from processor.cli import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    for command in ("--help", "codes", "settings --help"):
        subprocess.run([sys.executable, "-c", program, *command.split()], check=True)


# -- the schema --------------------------------------------------------------------------------


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> jsonschema.Draft202012Validator:
    text = json.loads(printed(capsys, "settings", "--schema"))
    jsonschema.Draft202012Validator.check_schema(text)
    return jsonschema.Draft202012Validator(text)


def test_the_schema_takes_what_the_settings_take(
    file: Path, schema: jsonschema.Draft202012Validator
) -> None:
    load_settings(file, {})
    schema.validate(tomllib.loads(file.read_text()))
    schema.validate({})


@pytest.mark.parametrize(
    "text",
    [
        "surprise = 1",
        "[surprise]\na = 1",
        '[kafka]\ngruop_id = "x"',
        "[kafka]\ngroup_id = 1",
        '[kafka]\ngroup_id = ""',
        '[kafka]\ngroup_id_file = "/x"',
        '[kafka]\nevents_topic = "a b"',
        '[kafka]\ngroup_protocol = "x"',
        '[kafka.options]\n"a" = [1]',
        "[http]\nport = 70000",
        "[http]\nport = 1.5",
        '[http]\nport = "x"',
        "[state]\nretention_s = 59",
        "[state]\ndir = 1",
        "[events]\ntime_fields = []",
        "[events]\ntime_fields = [1]",
        '[schema_registry]\nregister = "yes"',
        "[salesforce.fields]\nA = 1",
        '[salesforce]\ndomain = "acme.my.salesforce.com"',
    ],
)
def test_the_schema_refuses_what_the_settings_refuse(
    text: str, schema: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    file = tmp_path / "processor.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_settings(file, {}, needs=())
    assert not schema.is_valid(tomllib.loads(text))


LITERALS = """
    1|1.5|0|-1|true|"x"|"1"|""|" "|[]|[1]|["x"]|[[1]]|{}|{a=1}|{a="x"}|{a=[1]}|nan|inf|1e300
    99999999999999999999|1979-05-27|07:32:00|1979-05-27T07:32:00Z|"\\u0000"|["x", 1]|{a=true}
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("name", list(known_settings()))
def test_a_value_is_told_by_name_or_taken_and_then_the_schema_takes_it_too(
    name: str, schema: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    section, _, key = name.lower().partition("__")
    file = tmp_path / "processor.toml"
    for literal in filter(None, map(str.strip, LITERALS)):
        file.write_text(f"[{section}]\n{key} = {literal}\n")
        table = tomllib.loads(file.read_text())
        told = problems(file)
        assert all(f"{section}.{key} in {file}" in line for line in told), literal
        is_number_in_quotes = literal == '"1"'
        assert told or is_number_in_quotes or schema.is_valid(table), literal


def problems(file: Path) -> list[str]:
    try:
        load_settings(file, {}, needs=())
    except ConfigError as error:
        return str(error).removeprefix("2 settings are wrong:").strip().split("\n  ")
    return []


def test_the_schema_has_every_setting_with_its_default_and_meaning() -> None:
    schema = file_schema()
    for row in describe_settings():
        section, _, key = row.name.lower().partition("__")
        name = schema["properties"][section]["$ref"].rpartition("/")[2]
        entry = schema["$defs"][name]["properties"][key]
        assert entry["description"] == row.help
        assert "null" not in json.dumps(entry)
    assert schema["$defs"]["Http"]["properties"]["port"]["default"] == Settings().http.port


# -- the values in force -----------------------------------------------------------------------


def test_each_value_is_told_with_where_it_was_set(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = file.parent / "secrets"
    directory.mkdir()
    (directory / "schema_registry__url").write_text("https://user:hush@registry:8081\n")
    secret = file.parent / "secret"
    for name, value in {
        "SECRETS_DIR": str(directory),
        "KAFKA__OPTIONS__SASL_PASSWORD_FILE": str(secret),
        "KAFKA__OPTIONS__SASL_USERNAME": "you",
        "HTTP__PORT": "80",
        "LOG__FORMAT": "KV",
    }.items():
        monkeypatch.setenv(f"PROCESSOR_{name}", value)
    lines = printed(capsys, "settings", "--effective", "--config", file).splitlines()
    assert len([line for line in lines if "__OPTIONS" not in line]) == len(describe_settings()) - 2
    sasl = "PROCESSOR_KAFKA__OPTIONS__SASL_"
    key = f"salesforce.consumer_secret_file in {file}"
    in_directory = f"secret file {directory}/schema_registry__url"
    assert set(lines) >= {
        f"KAFKA__BOOTSTRAP_SERVERS = a:1,b:1  (file {file})",
        "KAFKA__GROUP_ID = sms-status-processor  (default)",
        f"KAFKA__OPTIONS security.protocol = SASL_SSL  (file {file})",
        f"KAFKA__OPTIONS sasl.username = you  (variable {sasl}USERNAME)",
        f"KAFKA__OPTIONS sasl.password = ***  (secret file {secret}, named by {sasl}PASSWORD_FILE)",
        f"SCHEMA_REGISTRY__URL = https://***@registry:8081  ({in_directory})",
        "SCHEMA_REGISTRY__OPTIONS = {}  (default)",
        'EVENTS__TIME_FIELDS = ["submitted_date"]  ' + f"(file {file})",
        f"SALESFORCE__CONSUMER_KEY = ***  (file {file})",
        f"SALESFORCE__CONSUMER_SECRET = ***  (secret file {secret}, named by {key})",
        "SALESFORCE__USERNAME = -  (default)",
        "HTTP__PORT = 80  (variable PROCESSOR_HTTP__PORT)",
        "LOG__FORMAT = kv  (variable PROCESSOR_LOG__FORMAT)",
    }


def test_a_secret_file_that_a_map_names_is_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f'[kafka.options]\n"sasl.password_file" = "{file.parent / "secret"}"\n')
    lines = printed(capsys, "settings", "--effective", "--config", file).splitlines()
    assert f"KAFKA__OPTIONS sasl.password = ***  (secret file, named in file {file})" in lines


# -- validate ----------------------------------------------------------------------------------


def test_settings_that_are_right_get_one_line(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "validate", "--config", file).count("\n") == 1


def test_everything_that_is_wrong_is_told_and_nothing_is_contacted(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = file.parent / "key.pem"
    key.write_bytes(b"\xff")
    file.write_text('[kafka.options]\nacks = 1\n[schema_registry]\nurl = "http://registry"\n')
    for name, value in {
        "HTTP__PORT": "x",
        "KAFKA__GRUOP_ID": "x",
        "SALESFORCE__CONSUMER_SECRET_FILE": "/none",
        "SALESFORCE__USERNAME": "u",
        "SALESFORCE__PRIVATE_KEY_FILE": str(key),
        "SCHEMA_REGISTRY__OPTIONS__MAX_RETRIES": "many",
    }.items():
        monkeypatch.setenv(f"PROCESSOR_{name}", value)
    assert main(["validate", "--config", str(file)]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "processor: 9 settings are wrong:"
    assert [line.strip().partition(": ")[0] for line in lines] == [
        "PROCESSOR_HTTP__PORT",
        "PROCESSOR_KAFKA__GRUOP_ID",
        "PROCESSOR_SALESFORCE__CONSUMER_SECRET_FILE",
        f"kafka.bootstrap_servers in {file}",
        f"salesforce.domain in {file}",
        f"salesforce.consumer_key in {file}",
        f"kafka.options in {file}",
        "PROCESSOR_SCHEMA_REGISTRY__OPTIONS__MAX_RETRIES",
        "PROCESSOR_SALESFORCE__PRIVATE_KEY_FILE",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ACKS", "1", "acks can't be set: the fence against a second owner"),
        ("NO_SUCH_PROPERTY", "1", "No such configuration property"),
        ("LOG__LEVEL", "many", "log_level"),
        ("FETCH_MIN_BYTES", "-1", "fetch.min.bytes"),
    ],
)
def test_what_the_kafka_client_refuses_of_a_single_option_is_told_with_its_variable(
    variable: str,
    value: str,
    told: str,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"PROCESSOR_KAFKA__OPTIONS__{variable}", value)
    assert main(["validate", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"processor: PROCESSOR_KAFKA__OPTIONS__{variable}: ")
    assert told in said

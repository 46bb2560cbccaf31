"""Secrets from files: named by a variable or a key, or in a directory; and single options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from processor.config.load import load_settings
from processor.config.settings import Settings
from processor.errors import ConfigError


def load(file: Path | None = None, **variables: str) -> Settings:
    return read(variables, None, file)


def read(variables: Mapping[str, str], directory: Path | None, file: Path | None) -> Settings:
    environ = {f"PROCESSOR_{name}": value for name, value in variables.items()}
    if directory:
        environ["PROCESSOR_SECRETS_DIR"] = str(directory)
    return load_settings(file, environ, needs=())


def problems(
    variables: Mapping[str, str], directory: Path | None = None, file: Path | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(variables, directory, file)
    lines = str(caught.value).split("\n  ")
    return lines if len(lines) == 1 else lines[1:]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hush\n")
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir()
    return path


# -- a file that a variable or a key names -----------------------------------------------------


def test_a_variable_may_name_the_file_of_a_secret(secret: Path) -> None:
    settings = load(SALESFORCE__CONSUMER_SECRET_FILE=str(secret))
    assert settings.salesforce.consumer_secret == "hush"


def test_a_key_of_the_file_of_settings_may_name_the_file_of_a_secret(
    secret: Path, tmp_path: Path
) -> None:
    file = tmp_path / "processor.toml"
    file.write_text(
        f'[salesforce]\nconsumer_secret_file = "{secret}"\n'
        f'[kafka.options]\nsasl.password_file = "{secret}"\n"client.id" = "me"\n'
    )
    settings = load(file=file)
    assert settings.salesforce.consumer_secret == "hush"
    assert settings.kafka.options == {"sasl.password": "hush", "client.id": "me"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x", "x"),
        ("x\n", "x"),
        ("x\r\n", "x"),
        (" x \n", " x "),
        ("\ufeffx", "x"),
        ("a\nb\n", "a\nb"),
    ],
)
def test_only_the_end_of_the_line_is_cut(text: str, value: str, secret: Path) -> None:
    secret.write_text(text, newline="")
    settings = load(KAFKA__OPTIONS__SASL_PASSWORD_FILE=str(secret))
    assert settings.kafka.options == {"sasl.password": value}


def test_an_empty_variable_names_no_file() -> None:
    assert load(SALESFORCE__CONSUMER_SECRET_FILE="") == Settings()


def test_the_file_of_the_private_key_is_a_setting_as_ever(secret: Path) -> None:
    settings = load(SALESFORCE__PRIVATE_KEY_FILE=str(secret), SALESFORCE__USERNAME="u")
    assert settings.salesforce.private_key_file == secret
    assert settings.salesforce.private_key() == "hush\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read (No such file or directory)"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_file_without_a_secret_is_named_with_its_variable(
    content: bytes | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    for name in ("SALESFORCE__CONSUMER_SECRET_FILE", "KAFKA__OPTIONS__SASL_PASSWORD_FILE"):
        (line,) = problems({name: str(path)})
        assert line == (
            f"PROCESSOR_{name}: names the file {path} that {told}; name one that holds the value"
        )
    file = tmp_path / "processor.toml"
    file.write_text(f'[kafka.options]\n"sasl.password_file" = "{path}"')
    (line,) = problems({}, file=file)
    assert line.startswith(f"kafka.options in {file}: sasl.password_file names the file {path} ")


def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    (line,) = problems({"SALESFORCE__CONSUMER_KEY_FILE": str(tmp_path)})
    assert "can't be read (Is a directory)" in line


def test_the_secret_itself_in_place_of_its_file_is_not_repeated() -> None:
    (line,) = problems({"SALESFORCE__CONSUMER_SECRET_FILE": "hush"})
    assert line.startswith("PROCESSOR_SALESFORCE__CONSUMER_SECRET_FILE: names a file that can't be")
    assert "hush" not in line


def test_a_value_and_a_file_for_one_secret_are_one_too_many(secret: Path, tmp_path: Path) -> None:
    for name in ("SALESFORCE__CONSUMER_SECRET", "KAFKA__OPTIONS__SASL_PASSWORD"):
        for order in (("", "_FILE"), ("_FILE", "")):
            (line,) = problems({name + end: str(secret) for end in order})
            first, second = (f"PROCESSOR_{name}{end}" for end in order)
            assert line == f"{second}: is set beside {first}; leave one of them out"
    file = tmp_path / "processor.toml"
    file.write_text(
        f'[salesforce]\nconsumer_key = "x"\nconsumer_key_file = "{secret}"\n'
        f'[kafka.options]\n"sasl.password" = "x"\n"sasl.password_file" = "{secret}"\n'
    )
    assert [line.partition(": ")[2] for line in problems({}, file=file)] == [
        f"is set beside salesforce.consumer_key in {file}; leave one of them out",
        "has both sasl.password and sasl.password_file; leave one of them out",
    ]


def test_the_environment_wins_over_the_file_of_settings_as_ever(
    secret: Path, tmp_path: Path
) -> None:
    file = tmp_path / "processor.toml"
    file.write_text('[salesforce]\nconsumer_secret = "x"')
    settings = load(file=file, SALESFORCE__CONSUMER_SECRET_FILE=str(secret))
    assert settings.salesforce.consumer_secret == "hush"


def test_what_is_no_secret_is_not_read_from_a_file(secret: Path) -> None:
    (line,) = problems({"KAFKA__GROUP_ID_FILE": str(secret)})
    assert line.endswith("is not a setting; did you mean PROCESSOR_KAFKA__GROUP_ID?")
    (line,) = problems({"SALESFORCE__CONSUMER_SECERT_FILE": str(secret)})
    assert line.endswith("did you mean PROCESSOR_SALESFORCE__CONSUMER_SECRET_FILE?")


# -- a directory of secrets --------------------------------------------------------------------


@pytest.mark.parametrize("spell", [str.lower, str.upper], ids=["lower", "upper"])
@pytest.mark.parametrize("prefix", ["", "PROCESSOR_"])
def test_a_file_in_the_directory_has_the_name_of_its_setting(
    spell: type[str], prefix: str, directory: Path
) -> None:
    files = {
        "SALESFORCE__CONSUMER_KEY": "key\n",
        "SALESFORCE__PRIVATE_KEY": "a key\n",
        "SCHEMA_REGISTRY__OPTIONS__BASIC_AUTH_USER_INFO": "user:hush",
        "KAFKA__OPTIONS": '{"sasl.username": "me"}',
        "KAFKA__OPTIONS__SASL_PASSWORD": "hush\n",
    }
    for name, text in files.items():
        (directory / spell(prefix + name)).write_text(text)
    settings = read({"SALESFORCE__USERNAME": "u"}, directory, None)
    assert settings.salesforce.consumer_key == "key"
    assert settings.salesforce.private_key() == "a key\n"
    assert settings.schema_registry.options == {"basic.auth.user.info": "user:hush"}
    assert settings.kafka.options == {"sasl.username": "me", "sasl.password": "hush"}


def test_what_else_is_in_the_directory_is_left_alone(directory: Path) -> None:
    (directory / "database_password").write_text("x")
    (directory / "database__password").write_text("x")
    (directory / "..data").mkdir()
    assert read({}, directory, None) == Settings()


def test_a_file_in_the_directory_that_can_be_no_setting_is_told(directory: Path) -> None:
    for name, text in {
        "kafka__group_id": "x",
        "salesforce__consumer_secert": "x",
        "salesforce__consumer_key": "",
    }.items():
        (directory / name).write_text(text)
    group, key, secret = problems({}, directory)
    meant = "is not a setting; did you mean PROCESSOR_"
    assert group == f"{directory}/kafka__group_id: {meant}KAFKA__GROUP_ID?"
    assert key == f"{directory}/salesforce__consumer_key: is empty: write the value into it"
    assert secret == (
        f"{directory}/salesforce__consumer_secert: {meant}SALESFORCE__CONSUMER_SECRET?"
    )


def test_a_secret_is_in_one_place_of_the_environment(directory: Path, tmp_path: Path) -> None:
    path = directory / "salesforce__consumer_secret"
    path.write_text("hush")
    (line,) = problems({"SALESFORCE__CONSUMER_SECRET": "x"}, directory)
    beside = f"is set beside {path}; leave one of them out"
    assert line == f"PROCESSOR_SALESFORCE__CONSUMER_SECRET: {beside}"
    (directory / "SALESFORCE__CONSUMER_SECRET").write_text("hush")
    (line,) = problems({}, directory)
    assert line.startswith(f"{path}: is set beside {directory}/SALESFORCE__CONSUMER_SECRET; ")
    (directory / "SALESFORCE__CONSUMER_SECRET").unlink()
    file = tmp_path / "processor.toml"
    file.write_text('[salesforce]\nconsumer_secret = "x"')
    assert read({}, directory, file).salesforce.consumer_secret == "hush"


def test_a_directory_that_is_not_there_is_told(directory: Path) -> None:
    (line,) = problems({"HTTP__PORT": "9"}, directory / "none")
    assert line == (
        f"PROCESSOR_SECRETS_DIR: names {directory}/none, which can't be read "
        "(No such file or directory): name a directory"
    )


# -- single options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("SASL_PASSWORD", "hush", "sasl.password", "hush"),
        ("SASL_PASSWORD", "0123", "sasl.password", "0123"),
        ("SASL_PASSWORD", "123", "sasl.password", "123"),
        ("SASL_PASSWORD", " a ", "sasl.password", " a "),
        ("SECURITY_PROTOCOL", " SSL", "security.protocol", "SSL"),
        ("FETCH_MIN_BYTES", "5", "fetch.min.bytes", 5),
        ("CLIENT_ID", "007", "client.id", "007"),
        ("CLIENT_ID", "1e3", "client.id", "1e3"),
        ("SOCKET_KEEPALIVE_ENABLE", "true", "socket.keepalive.enable", True),
        ("LOG__LEVEL", "7", "log_level", 7),
        (
            "SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE",
            "/none",
            "sasl.oauthbearer.assertion.private.key.file",
            "/none",
        ),
    ],
)
def test_an_option_has_a_variable_of_its_own(
    variable: str, text: str, option: str, value: object
) -> None:
    settings = read({f"KAFKA__OPTIONS__{variable}": text}, None, None)
    assert settings.kafka.options == {option: value}
    assert type(settings.kafka.options[option]) is type(value)


def test_single_options_go_over_the_map(secret: Path, tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text('[kafka.options]\nsasl.username = "a"\nsasl.password = "a"\n')
    single = {
        "KAFKA__OPTIONS__SASL_PASSWORD_FILE": str(secret),
        "KAFKA__OPTIONS__CLIENT_ID": "me",
    }
    over = {"sasl.password": "hush", "client.id": "me"}
    assert read(single, None, file).kafka.options == {"sasl.username": "a"} | over
    whole = {"KAFKA__OPTIONS": '{"sasl.password": "b", "debug": "all"}'}
    assert read(single | whole, None, file).kafka.options == {"debug": "all"} | over


def test_a_map_in_the_environment_takes_the_place_of_the_files(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text('[kafka.options]\nclient.id = "a"\n[salesforce.fields]\nA__c = "code"\n')
    settings = load(
        file=file, KAFKA__OPTIONS='{"debug": "all"}', SALESFORCE__FIELDS='{"B__c": "code"}'
    )
    assert settings.kafka.options == {"debug": "all"}
    assert settings.salesforce.fields == {"B__c": "code"}


def test_a_check_of_an_option_names_the_variable_that_it_is_in() -> None:
    (line,) = problems({"KAFKA__OPTIONS__SESSION_TIMEOUT_MS": "30000"})
    assert line.startswith("PROCESSOR_KAFKA__OPTIONS__SESSION_TIMEOUT_MS: can't hold session.time")
    both = {"KAFKA__OPTIONS": "hush", "KAFKA__OPTIONS__CLIENT_ID": "me"}
    (line,) = problems(both)
    assert line == 'PROCESSOR_KAFKA__OPTIONS: is not JSON: write {"property.name": "value"}'

"""Settings: read from file and environment, wrong ones named all at once, secrets never shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import pytest

from processor.config.load import load_settings, require_salesforce
from processor.config.schema import describe_settings
from processor.config.settings import Settings
from processor.errors import ConfigError

BROKER = {"PROCESSOR_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092"}
ORG = {
    "PROCESSOR_SALESFORCE__DOMAIN": "acme.my",
    "PROCESSOR_SALESFORCE__CONSUMER_KEY": "the key",
    "PROCESSOR_SALESFORCE__CONSUMER_SECRET": "the secret",
}


def load(**variables: str) -> Settings:
    return load_settings(None, BROKER | {f"PROCESSOR_{k}": v for k, v in variables.items()})


def problems(variables: Mapping[str, str], *needs: str, file: Path | None = None) -> list[str]:
    environ = {f"PROCESSOR_{name}": value for name, value in variables.items()}
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ, needs=needs)
    lines = str(caught.value).split("\n  ")
    return lines if len(lines) == 1 else lines[1:]


def test_without_a_word_everything_has_the_documented_default() -> None:
    settings = load()
    assert settings.kafka.bootstrap_servers == "localhost:9092"
    assert settings.kafka.events_topic == "sms.delivery-events"
    assert settings.kafka.status_topic == "sms.delivery-status"
    assert settings.kafka.dead_letter_topic == "sms.delivery-dead-letters"
    assert settings.kafka.session_timeout_ms == 45_000
    assert settings.events.time_fields == ("date_received", "submitted_date")
    assert settings.salesforce.fields == {
        "SMS_Status__c": "category",
        "SMS_Status_Code__c": "code",
    }
    assert settings.state.retention_s == 604_800
    assert settings.http.port == 9108
    assert settings.model_copy(update={"kafka": Settings().kafka}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text("""
        [kafka]
        bootstrap_servers = "a:1"
        group_id = "from the file"
        options = { "security.protocol" = "SSL" }
        [salesforce.fields]
        Status = "category"
        [Batch]
        timeout_s = 2
        [state]
        dir = "/var/lib/x"
    """)
    environ = {
        "PROCESSOR_KAFKA__GROUP_ID": "from the environment",
        "PROCESSOR_BATCH__TIMEOUT_S": "",
    }
    settings = load_settings(file, environ)
    assert settings.kafka.bootstrap_servers == "a:1"
    assert settings.kafka.group_id == "from the environment"
    assert settings.kafka.options == {"security.protocol": "SSL"}
    assert settings.salesforce.fields == {"Status": "category"}
    assert settings.batch.timeout_s == 2.0  # an empty variable is one that is not set
    assert settings.state.dir == Path("/var/lib/x")
    assert load_settings(None, environ | {"PROCESSOR_CONFIG": str(file)}) == settings


def test_a_variable_without_our_prefix_is_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE", "NSW")
    monkeypatch.setenv("KAFKA", '{"group_id": "x"}')
    assert load_settings(None, needs=()) == Settings()


def test_librdkafka_properties_need_no_quotes_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text('[kafka]\nbootstrap_servers = "a:1"\n[kafka.options]\nssl.ca.location = "/ca"')
    assert load_settings(file, {}).kafka.options == {"ssl.ca.location": "/ca"}


@pytest.mark.parametrize(("value", "read"), [("true", True), (" False ", False)])
def test_a_truth_value_in_the_environment_is_a_word(value: str, read: bool) -> None:
    assert load(SCHEMA_REGISTRY__REGISTER=value).schema_registry.register is read


def test_a_number_in_the_environment_is_written_as_in_a_file() -> None:
    assert load(BATCH__MAX_RECORDS="1e3").batch.max_records == 1_000
    assert load(BATCH__TIMEOUT_S=" 2 ").batch.timeout_s == 2.0


def test_lists_and_maps_in_the_environment_are_json() -> None:
    settings = load(
        EVENTS__TIME_FIELDS='["submitted_date"]',
        KAFKA__OPTIONS='{"security.protocol": "SSL", "fetch.min.bytes": 1, "debug": false}',
        SALESFORCE__FIELDS='{"Code__c": "code"}',
    )
    assert settings.events.time_fields == ("submitted_date",)
    assert settings.kafka.options["fetch.min.bytes"] == 1
    assert settings.salesforce.fields == {"Code__c": "code"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BATCH__TIMEOUT_S", "soon", "BATCH__TIMEOUT_S: is not a number"),
        ("BATCH__TIMEOUT_S", "nan", "not a finite number"),
        ("BATCH__TIMEOUT_S", "-1", "too short: write 0.001 or more"),
        ("BATCH__MAX_RECORDS", "1.5", "not a whole number"),
        ("BATCH__MAX_RECORDS", "0", "out of range: write 1 to 1000000"),
        ("BATCH__CATCH_UP_MAX_RECORDS", "1000001", "out of range: write 1 to 1000000"),
        ("BATCH__TIMEOUT_S", "3e6", "too long: write at most 60 seconds"),
        ("STATE__RETENTION_S", "1e300", "too long: write at most 315360000 seconds"),
        ("KAFKA__SESSION_TIMEOUT_S", "301", "write 300 or less, or raise max.poll.interval.ms"),
        ("HTTP__HEALTH_LIMIT_S", "30", "write more than 30"),
        ("HTTP__PORT", "70000", "write 0 to 65535"),
        ("KAFKA__OPTIONS", "a=b", 'not JSON: write {"property.name": "value"}'),
        ("KAFKA__OPTIONS", "[1]", "has the wrong shape"),
        ("KAFKA__OPTIONS", '{"a": null}', "no text, number or truth value: a"),
        (
            "KAFKA__OPTIONS",
            '{"session.timeout.ms": 30000}',
            "set PROCESSOR_KAFKA__SESSION_TIMEOUT_S",
        ),
        ("KAFKA__OPTIONS", '{"max.poll.interval.ms": 9000}', "write less than 9"),
        ("KAFKA__OPTIONS", '{"max.poll.interval.ms": "x"}', "is not a number"),
        ("KAFKA__GROUP_PROTOCOL", "new", "is none of classic, consumer"),
        ("KAFKA__SESSION_TIMEOUT_S", "19", "write 20 or more"),
        ("KAFKA__EVENTS_TOPIC", "a b", "is malformed"),
        (
            "KAFKA__STATUS_TOPIC",
            "sms.delivery-events",
            "same topic as PROCESSOR_KAFKA__EVENTS_TOPIC",
        ),
        ("EVENTS__TIME_FIELDS", "[]", "is not a list of names"),
        ("SCHEMA_REGISTRY__URL", "registry:8081", "write http://host:port"),
        ("SCHEMA_REGISTRY__REGISTER", "yes", "write true or false"),
        ("SALESFORCE__DOMAIN", "acme.my.salesforce.com", "the My Domain prefix only: acme.my"),
        ("SALESFORCE__DOMAIN", "https://acme.my", "is malformed"),
        ("SALESFORCE__API_VERSION", "66", "such as 66.0"),
        ("SALESFORCE__FIELDS", "{}", "SALESFORCE__FIELDS: is empty"),
        ("SALESFORCE__FIELDS", '{"A": "categry"}', "did you mean category?"),
        ("SALESFORCE__FIELDS", '{"A": "zzz"}', "write one of category, code"),
        ("SALESFORCE__FIELDS", '{"1 A": "code"}', "not the API name of a field"),
        ("SALESFORCE__REQUEST_TIMEOUT_S", "25", "WORKER__REVOKE_DEADLINE_S"),
        ("SALESFORCE__PRIVATE_KEY_FILE", "/none", "SALESFORCE__PRIVATE_KEY_FILE: there is no such"),
        ("SALESFORCE__USERNAME", "u", "FILE: is missing beside PROCESSOR_SALESFORCE__USERNAME"),
        ("WORKER__REVOKE_DEADLINE_S", "300", "must be less than the poll interval"),
        ("WORKER__SHUTDOWN_DEADLINE_S", "5", "shorter than PROCESSOR_WORKER__REVOKE_"),
        ("BATCH__CATCH_UP_MAX_RECORDS", "10", "less than PROCESSOR_BATCH__MAX_RECORDS"),
        ("LOG__FORMAT", "xml", "is none of kv, json"),
        ("KAFKA__GRUOP_ID", "x", "did you mean PROCESSOR_KAFKA__GROUP_ID?"),
        ("KAFKA_GROUP_ID", "x", "did you mean PROCESSOR_KAFKA__GROUP_ID?"),
        ("kafka__group_id", "x", "did you mean PROCESSOR_KAFKA__GROUP_ID?"),
        ("NONSENSE__HERE", "x", "`processor settings` lists them"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_write(name: str, value: str, told: str) -> None:
    assert told in "\n".join(problems({name: value}))


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text('surprise = 1\n[kafka]\ngroup_protocol = "x"\n[log]\nlevle = "INFO"\n')
    found = problems({"HTTP__PORT": "x"}, "kafka", "registry", "salesforce", file=file)
    assert [line.partition(":")[0] for line in found] == [
        f"surprise in {file}",
        f"kafka.group_protocol in {file}",
        f"log.levle in {file}",
        "PROCESSOR_HTTP__PORT",
        f"kafka.bootstrap_servers in {file}",
        f"schema_registry.url in {file}",
        f"salesforce.domain in {file}",
        f"salesforce.consumer_key in {file}",
        f"salesforce.consumer_secret in {file}",
    ]
    assert "did you mean log.level?" in found[2]


def test_a_setting_is_named_as_its_user_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_text("[worker]\nrevoke_deadline_s = 20\n")
    shorten = "PROCESSOR_SALESFORCE__REQUEST_TIMEOUT_S"
    (line,) = problems({"SALESFORCE__REQUEST_TIMEOUT_S": "20"}, file=file)
    assert line.startswith(f"worker.revoke_deadline_s in {file}: ")
    assert line.endswith(f"or shorten {shorten}")
    (line,) = problems({}, "kafka")
    assert line.startswith("PROCESSOR_KAFKA__BOOTSTRAP_SERVERS: is missing")


def test_checks_of_other_parts_are_told_with_ours() -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)BOOTSTRAP.*PROCESSOR_KAFKA__OPTIONS: acks can't be set"
    ):
        load_settings(None, {}, also=lambda _: ["KAFKA__OPTIONS: acks can't be set"])


def test_what_could_not_be_read_is_not_told_to_be_missing_too() -> None:
    assert len(problems({"SCHEMA_REGISTRY__URL": "x"}, "registry")) == 1


@pytest.mark.parametrize("text", [None, "[kafka", "\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "processor.toml"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    (line,) = problems({"HTTP__PORT": "x"}, "kafka", "registry", "salesforce", file=file)
    assert str(file) in line


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "processor.toml"
    file.write_bytes(b'\xef\xbb\xbf[kafka]\r\nbootstrap_servers = "a:1"\r\n')
    assert load_settings(file, {}).kafka.bootstrap_servers == "a:1"


def test_with_the_consumer_protocol_the_broker_decides_the_session() -> None:
    settings = load(KAFKA__GROUP_PROTOCOL="consumer", KAFKA__SESSION_TIMEOUT_S="5")
    assert settings.kafka.session_timeout_ms is None


def test_plain_events_and_a_registry_exclude_each_other() -> None:
    given = {"EVENTS__ENCODING": "plain", "SCHEMA_REGISTRY__URL": "http://r:8081/"}
    assert "EVENTS__ENCODING" in problems(given)[0]


# -- Salesforce ------------------------------------------------------------------------------


def test_there_are_two_ways_to_log_in(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----")
    with_secret = load_settings(None, BROKER | ORG, needs=("kafka", "salesforce"))
    assert require_salesforce(with_secret).private_key() is None
    with_key = load(
        SALESFORCE__DOMAIN="acme.my",
        SALESFORCE__CONSUMER_KEY="k",
        SALESFORCE__USERNAME="u@acme",
        SALESFORCE__PRIVATE_KEY_FILE=str(key),
    )
    assert require_salesforce(with_key).private_key() == "-----BEGIN PRIVATE KEY-----"
    both = {"SALESFORCE__CONSUMER_SECRET": "s", "SALESFORCE__USERNAME": "u"}
    assert "two ways to log in" in problems(both)[0]


def test_an_endpoint_stands_in_for_the_domain() -> None:
    environ = BROKER | ORG | {"PROCESSOR_SALESFORCE__ENDPOINT_URL": "http://org:8080"}
    del environ["PROCESSOR_SALESFORCE__DOMAIN"]
    org = require_salesforce(load_settings(None, environ))
    assert (org.domain, org.endpoint_url) == (None, "http://org:8080")


def test_client_credentials_need_the_orgs_own_domain() -> None:
    environ = BROKER | ORG | {"PROCESSOR_SALESFORCE__DOMAIN": "login"}
    with pytest.raises(ConfigError, match="SALESFORCE__DOMAIN: client credentials"):
        load_settings(None, environ)


def test_what_is_not_set_is_only_missed_by_who_needs_it() -> None:
    settings = load_settings(None, {}, needs=())
    with pytest.raises(ConfigError, match="SALESFORCE__CONSUMER_KEY: is missing"):
        require_salesforce(settings)


def test_a_key_file_that_is_no_text_is_a_setting_to_change(tmp_path: Path) -> None:
    key = tmp_path / "key.der"
    key.write_bytes(b"\xff\x00")
    settings = load(SALESFORCE__USERNAME="u", SALESFORCE__PRIVATE_KEY_FILE=str(key))
    with pytest.raises(ConfigError, match="SALESFORCE__PRIVATE_KEY_FILE can't be read"):
        settings.salesforce.private_key()


# -- secrets ---------------------------------------------------------------------------------


def test_no_secret_is_in_the_repr_or_in_an_error() -> None:
    hidden = {
        "KAFKA__OPTIONS": '{"sasl.password": "hush1", "ssl.key.pem": "hush2", "client.id": "me"}',
        "SCHEMA_REGISTRY__OPTIONS": '{"basic.auth.user.info": "u:hush3"}',
        "SCHEMA_REGISTRY__URL": "https://user:hush4@registry",
        "SALESFORCE__CONSUMER_KEY": "hush5",
        "SALESFORCE__CONSUMER_SECRET": "hush6",
        "SALESFORCE__ENDPOINT_URL": "https://user:hush7@proxy",
    }
    settings = load(**hidden)
    assert "hush" not in repr(settings)
    assert "'client.id': 'me'" in repr(settings)
    assert settings.salesforce.consumer_secret == "hush6"
    assert settings.kafka.options["sasl.password"] == "hush1"
    wrong = hidden | {"KAFKA__OPTIONS": "hush", "SCHEMA_REGISTRY__URL": "hush", "HUSH__IT": "hush"}
    assert "hush" not in "\n".join(problems(wrong))


# -- the table -------------------------------------------------------------------------------


def test_every_setting_is_described() -> None:
    rows = describe_settings()
    sections = get_type_hints(Settings)
    assert [row.name for row in rows] == [
        f"{section}__{field.name}".upper()
        for section in Settings.model_fields
        for field in dataclasses.fields(sections[section])
    ]
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.help and row.type and row.default for row in rows)
    assert ("HTTP__PORT", "number", "9108") in [row[:3] for row in rows]


def test_every_duration_and_size_has_its_unit_in_its_name() -> None:
    for row in describe_settings():
        assert (row.type == "seconds") == row.name.endswith("_S"), row.name


def test_what_kubernetes_tells_of_a_service_named_processor_is_not_a_setting() -> None:
    links = {
        "PROCESSOR_SERVICE_HOST": "10.0.0.7",
        "PROCESSOR_SERVICE_PORT": "9108",
        "PROCESSOR_SERVICE_PORT_HTTP": "9108",
        "PROCESSOR_PORT": "tcp://10.0.0.7:9108",
        "PROCESSOR_PORT_9108_TCP": "tcp://10.0.0.7:9108",
        "PROCESSOR_PORT_9108_TCP_ADDR": "10.0.0.7",
        "PROCESSOR_METRICS_SERVICE_HOST": "10.0.0.8",
    }
    assert load_settings(None, BROKER | links) == load_settings(None, BROKER)
    assert "did you mean PROCESSOR_HTTP__PORT?" in problems({"HTTP_PORT": "9108"})[0]

"""The settings by section: type, bounds, default, and what each one means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from processor.config.listening import DEFAULT_HOST, DEFAULT_PORT, MAX_PORT
from processor.config.values import (
    ANY_CASE,
    DECADE_S,
    NUMBER,
    File,
    Flag,
    NameMap,
    Names,
    Options,
    Seconds,
    SecondsOrZero,
    Secret,
    Shape,
    Text,
    Url,
)
from processor.errors import ConfigError

CONNECT_TIMEOUT_S: Final = 5.0  # of the time that a request to Salesforce may take
DAY_S: Final = 86_400.0
MAX_SESSION_S: Final = 3_600.0  # librdkafka's session.timeout.ms
MAX_BATCH_RECORDS: Final = 1_000_000  # of one call to librdkafka's consume
MAX_MAP_BYTES: Final = 1 << 44  # the largest file on ext4
DEFAULT_FIELDS: Final = {"SMS_Status__c": "category", "SMS_Status_Code__c": "code"}

Topic = Annotated[
    Text, Shape(r"[A-Za-z0-9._-]{1,249}", "letters, digits, dots, dashes, underscores")
]
Domain = Annotated[
    Text, Shape(r"(?!.*\.salesforce\.com$)[A-Za-z0-9.-]+", "the My Domain prefix only: acme.my")
]
OrgId = Annotated[Text, Shape(r"00D[A-Za-z0-9]{12}([A-Z0-9]{3})?", "such as 00D5g00000A1b2C")]
ApiVersion = Annotated[Text, Shape(r"\d{2,3}\.0", "such as 66.0")]
MinuteOrMore = Annotated[float, Field(ge=60, le=DECADE_S), NUMBER]
BatchRecords = Annotated[int, Field(ge=1, le=MAX_BATCH_RECORDS), NUMBER]

# Dataclasses and not models: `register` is a name that every model has already.
_SECTION: Final = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, config=_SECTION)
class Kafka:
    """The brokers, the topics, the consumer group."""

    bootstrap_servers: Text = Field(
        default="", description="the Kafka brokers to connect to first: host:port,host:port"
    )
    group_id: Text = Field(
        default="sms-status-processor",
        description="the consumer group; all processes that share the work have the same one",
    )
    events_topic: Topic = Field(
        default="sms.delivery-events", description="the topic that delivery reports are read from"
    )
    events_partitions: Annotated[int, Field(ge=1, le=10_000), NUMBER] | None = Field(
        default=None,
        description="the number of partitions to create the events topic with where it does not "
        "exist; without this setting the events topic must exist",
    )
    status_topic: Topic = Field(
        default="sms.delivery-status",
        description="the topic that holds the status of every message: compacted, keyed by "
        "message id",
    )
    adopt_statuses_of: Names = Field(
        default=(),
        description="former owners whose records in the status topic this group takes over, as "
        "group/org/topic id (the refusal to start names them): for a group that was renamed, an "
        "org that was refreshed, or a topic that was copied",
    )
    dead_letter_topic: Topic = Field(
        default="sms.delivery-dead-letters",
        description="the topic for events that can't be used, unchanged, and for rows that "
        "Salesforce refused",
    )
    dead_letter_retention_s: MinuteOrMore = Field(
        default=30 * DAY_S,
        description="how long a dead letter is kept after it was written: the dead-letter topic "
        "is created with this retention, and a topic that exists with a shorter one is reported",
    )
    group_protocol: Annotated[Literal["classic", "consumer"], ANY_CASE] = Field(
        default="classic",
        description="the consumer group's protocol; consumer is the newer one of KIP-848",
    )
    transactional_id: Text | None = Field(
        default=None,
        description="a name that this instance keeps across restarts (such as the name of its "
        "StatefulSet pod), so that it can work again at once after a restart; without this "
        "setting the name is random",
    )
    session_timeout_s: Annotated[float, Field(ge=0.001, le=MAX_SESSION_S), NUMBER] = Field(
        default=45.0,
        description="how long a process may be silent before the group takes it for dead: 20 or "
        "more; with group_protocol consumer the broker decides instead",
    )
    options: Options = Field(
        default=Options(),
        description="librdkafka properties (TLS, SASL, and so on); those that correctness depends "
        "on are refused",
    )

    @property
    def session_timeout_ms(self) -> int | None:
        """None where the broker decides."""
        return None if self.group_protocol == "consumer" else round(self.session_timeout_s * 1000)


@dataclass(frozen=True, slots=True, config=_SECTION)
class SchemaRegistry:
    """Where the schemas of events are, if they are framed as Confluent's clients do."""

    url: Url | None = Field(
        default=None,
        description="the address of a schema registry with Confluent's API; without it the "
        "packaged schemas are used. Where producers put Apicurio's global ids into headers (not "
        "its content ids), Apicurio has to run with `apicurio.ccompat.legacy-id-mode.enabled`",
    )
    options: Options = Field(
        default=Options(),
        description="properties of confluent-kafka's SchemaRegistryClient",
    )
    register: Flag = Field(
        default=False,
        description="true: schemas of ours that the registry does not have are registered at the "
        "start; false: they are only looked up, and `processor schemas register` has to be run "
        "before",
    )
    grace_s: SecondsOrZero = Field(
        default=30.0,
        description="how long the first event with a schema id that the registry does not know "
        "waits for that schema; after that, such events become dead letters",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Events:
    """How to read a delivery report."""

    encoding: Annotated[Literal["framed", "plain"], ANY_CASE] = Field(
        default="framed",
        description="how events name their schema; framed: by a registry id or a single-object "
        "fingerprint in front of the Avro data; plain: not at all, they are bare Avro of the "
        "packaged schema",
    )
    time_fields: Names = Field(
        default=("date_received", "submitted_date"),
        description="the fields of a report that may hold its time; the first one with a usable "
        "time orders the event",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Salesforce:
    """The org, the login, the Task's fields, and the times of writing."""

    domain: Domain | None = Field(
        default=None,
        description="the org's My Domain without .salesforce.com: acme.my, acme--uat.sandbox.my",
    )
    consumer_key: Secret | None = Field(
        default=None, description="the consumer key of the connected app"
    )
    consumer_secret: Secret | None = Field(
        default=None,
        description="the consumer secret of the connected app, for a login by the client "
        "credentials flow",
    )
    username: Text | None = Field(
        default=None,
        description="the user to log in as by the JWT bearer flow, together with private_key_file",
    )
    private_key_file: File | None = Field(
        default=None,
        description="the PEM file with the private key for the JWT bearer flow, without a "
        "passphrase",
    )
    expected_org_id: OrgId | None = Field(
        default=None,
        description="the id of the org that may be written to (Setup > Company Information), with "
        "15 or 18 characters; without it, whichever the login leads to",
    )
    endpoint_url: Url | None = Field(
        default=None,
        description="an address that all requests to Salesforce go to, login included: a proxy, "
        "or the sandbox org",
    )
    api_version: ApiVersion = Field(
        default="66.0", description="the version of Salesforce's REST API"
    )
    task_id_metadata_key: Text = Field(
        default="salesforce_task_id",
        description="the key in a message's metadata that holds the id of its Task",
    )
    fields: NameMap = Field(
        default=DEFAULT_FIELDS,
        description="which field of the Task holds which attribute: category, code, description, "
        "final, event_time, message_id, version",
    )
    failure_hold_s: SecondsOrZero = Field(
        default=15.0,
        description="how long a failure waits before it is written, because a reroute may still "
        "reopen it",
    )
    intermediate_hold_s: SecondsOrZero = Field(
        default=10.0,
        description="how long an intermediate status waits before it is written, because a final "
        "one may replace it",
    )
    unknown_after_s: Seconds = Field(
        default=660.0,
        description="how long after a write without an answer the Task is read back; Salesforce "
        "may work on a request for up to 600 seconds",
    )
    settle_interval_s: SecondsOrZero = Field(
        default=5.0,
        description="the longest time before a result that Salesforce confirmed is published to "
        "the status topic",
    )
    give_up_after_s: Seconds = Field(
        default=DAY_S,
        description="the age of a status at which a row that still can't be written is given up "
        "and becomes a dead letter",
    )
    request_timeout_s: Seconds = Field(
        default=20.0,
        description="how long to wait for Salesforce's answer to a request; connecting may take "
        f"{CONNECT_TIMEOUT_S:g} seconds more",
    )
    requests_in_flight: Annotated[int, Field(ge=1, le=25), NUMBER] = Field(
        default=2, description="the most requests to Salesforce at the same time"
    )
    linger_s: SecondsOrZero = Field(
        default=1.0,
        description="how long a row waits for others, to share one API call with them",
    )

    @property
    def request_timeouts_s(self) -> tuple[float, float]:
        """To connect, and to wait for an answer."""
        return CONNECT_TIMEOUT_S, self.request_timeout_s

    def private_key(self) -> str | None:
        """The text of the key file. Raises ConfigError when it can't be read."""
        if self.private_key_file is None:
            return None
        try:
            return self.private_key_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"SALESFORCE__PRIVATE_KEY_FILE can't be read ({type(error).__name__}): "
                "name a PEM file that this user may read"
            ) from error


@dataclass(frozen=True, slots=True, config=_SECTION)
class State:
    """The local store."""

    dir: File = Field(
        default=Path("/var/lib/processor"),
        description="the directory of the local store, used by this process alone; it is a cache "
        "that may be deleted at any time",
    )
    retention_s: MinuteOrMore = Field(
        default=7 * DAY_S,
        description="how long a settled message is remembered after its last report",
    )
    map_limit_bytes: Annotated[int, Field(ge=1 << 24, le=MAX_MAP_BYTES), NUMBER] = Field(
        default=64 << 30,
        description="the largest size that the local store's file of one partition may grow to",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Batch:
    """How many events are taken at once."""

    max_records: BatchRecords = Field(
        default=5_000, description="the most events in one batch while there is no lag"
    )
    catch_up_max_records: BatchRecords = Field(
        default=50_000,
        description="the most events in one batch while catching up with a lag: larger batches "
        "collapse more events into each write",
    )
    timeout_s: Annotated[float, Field(ge=0.001, le=60), NUMBER] = Field(
        default=0.5, description="how long a batch waits for events before it is processed as it is"
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Breaker:
    """What to do with a partition whose events can't be decoded, most of them."""

    enabled: Flag = Field(
        default=True,
        description="true: a partition where most recent events can't be decoded is read slowly "
        "until usable ones prevail again; false: it is read at full speed, and each such event "
        "becomes a dead letter at once",
    )
    events_per_minute: Annotated[int, Field(ge=1, le=1_000_000), NUMBER] = Field(
        default=100,
        description="the most events a minute that are read from a partition where most recent "
        "events can't be decoded",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Worker:
    """Deadlines."""

    revoke_deadline_s: Seconds = Field(
        default=30.0,
        description="how long to wait for requests in flight when partitions move to another "
        "process",
    )
    shutdown_deadline_s: Seconds = Field(
        default=45.0,
        description="how long stopping may take before the process ends without waiting any more",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Http:
    """/metrics, /healthz, /readyz."""

    host: Text = Field(
        default=DEFAULT_HOST,
        description="the address to serve /metrics, /healthz and /readyz on; :: is every address, "
        "IPv6 and IPv4",
    )
    port: Annotated[int, Field(ge=0, le=MAX_PORT), NUMBER] = Field(
        default=DEFAULT_PORT,
        description="the port to serve /metrics, /healthz and /readyz on; 0 takes any free one",
    )
    health_limit_s: Seconds = Field(
        default=120.0,
        description="how long the processing loop may go without a turn before /healthz says that "
        "the process is unhealthy",
    )


@dataclass(frozen=True, slots=True, config=_SECTION)
class Log:
    """Lines on standard error."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], ANY_CASE] = Field(
        default="INFO",
        description="the lowest level that is logged; lines of lower levels are left out",
    )
    format: Annotated[Literal["kv", "json"], ANY_CASE] = Field(
        default="kv",
        description="the format of log lines; kv: key=value pairs; json: one JSON object a line",
    )


class Settings(BaseSettings):
    """All of them: what the `sources` hold, the first one first, else the defaults. No secret is
    in its repr.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka: Kafka = Field(default_factory=Kafka)
    schema_registry: SchemaRegistry = Field(default_factory=SchemaRegistry)
    events: Events = Field(default_factory=Events)
    salesforce: Salesforce = Field(default_factory=Salesforce)
    state: State = Field(default_factory=State)
    batch: Batch = Field(default_factory=Batch)
    breaker: Breaker = Field(default_factory=Breaker)
    worker: Worker = Field(default_factory=Worker)
    http: Http = Field(default_factory=Http)
    log: Log = Field(default_factory=Log)

    def __init__(self, sources: Iterable[PydanticBaseSettingsSource] = ()) -> None:
        super().__init__(sources=tuple(sources))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature, to the end
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Never the environment by itself: only what is handed in."""
        assert isinstance(init_settings, InitSettingsSource)
        sources: tuple[PydanticBaseSettingsSource, ...] = init_settings.init_kwargs["sources"]
        return sources

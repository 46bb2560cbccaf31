"""The settings by section: type, default, and what each one means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from processor.config.kinds import (
    FLAG,
    NAMES,
    OPTIONS,
    PATH,
    SECRET,
    TEXT,
    TEXTS,
    URL,
    Kind,
    Options,
    Secret,
    Url,
    matching,
    one_of,
    seconds,
    whole,
)
from processor.errors import ConfigError

CONNECT_TIMEOUT_S: Final = 5.0  # of the time that a request to Salesforce may take
DAY_S: Final = 86_400.0
MAX_SESSION_S: Final = 3_600.0  # librdkafka's session.timeout.ms
MAX_BATCH_RECORDS: Final = 1_000_000  # of one call to librdkafka's consume
MAX_WINDOW_ROWS: Final = 1_000_000  # some hundred MB
MAX_MAP_BYTES: Final = 1 << 44  # the largest file on ext4
DEFAULT_FIELDS: Final = {"SMS_Status__c": "category", "SMS_Status_Code__c": "code"}
_TOPIC: Final = matching(r"[A-Za-z0-9._-]{1,249}", "letters, digits, dots, dashes, underscores")


def _about(kind: Kind, meaning: str) -> dict[str, Any]:
    return {"kind": kind, "help": meaning}


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers, the topics, the consumer group."""

    bootstrap_servers: str = field(
        default="", metadata=_about(TEXT, "brokers to begin with: host:port,host:port")
    )
    group_id: str = field(
        default="sms-status-processor", metadata=_about(TEXT, "the consumer group")
    )
    events_topic: str = field(
        default="sms.delivery-events", metadata=_about(_TOPIC, "delivery reports are read here")
    )
    events_partitions: int | None = field(
        default=None,
        metadata=_about(
            whole(1, 10_000),
            "where the events topic is missing it is made with so many; none: it has to be there",
        ),
    )
    status_topic: str = field(
        default="sms.delivery-status",
        metadata=_about(_TOPIC, "statuses are kept here: compacted, keyed by message id"),
    )
    adopt_statuses_of: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            TEXTS,
            "owners (group/org/topic id, as the refusal to start names them) whose records in the "
            "status topic count as this group's: after the group was renamed, the org was "
            "refreshed, or the topic was copied",
        ),
    )
    dead_letter_topic: str = field(
        default="sms.delivery-dead-letters",
        metadata=_about(_TOPIC, "what can't be used goes here, as it came"),
    )
    dead_letter_retention_s: float = field(
        default=30 * DAY_S,
        metadata=_about(
            seconds(60),
            "a dead letter is kept so long after it was written: where the dead-letter topic is "
            "missing it is made so, and one that keeps them for less is told",
        ),
    )
    group_protocol: str = field(
        default="classic",
        metadata=_about(one_of("classic", "consumer"), "consumer is the protocol of KIP-848"),
    )
    transactional_id: str | None = field(
        default=None,
        metadata=_about(
            TEXT,
            "a name that stays this instance's over restarts (a StatefulSet pod's name): then a "
            "restart is up at once; none: a random one",
        ),
    )
    session_timeout_s: float = field(
        default=45.0,
        metadata=_about(
            seconds(most=MAX_SESSION_S),
            "a process silent for so long has died; 20 or more; with group_protocol consumer "
            "the broker decides",
        ),
    )
    options: Options = field(
        default_factory=Options,
        metadata=_about(
            OPTIONS,
            "any librdkafka property (TLS, SASL, ...), save those that correctness depends on",
        ),
    )

    @property
    def session_timeout_ms(self) -> int | None:
        """None where the broker decides."""
        return None if self.group_protocol == "consumer" else round(self.session_timeout_s * 1000)


@dataclass(frozen=True, slots=True)
class SchemaRegistry:
    """Where the schemas of events are, if they are framed as Confluent's clients do."""

    url: Url | None = field(
        default=None,
        metadata=_about(
            URL,
            "a registry with Confluent's API; none: the packaged schemas are used. Where producers "
            "put Apicurio's global ids into headers (not its content ids), it has to run with "
            "`apicurio.ccompat.legacy-id-mode.enabled`",
        ),
    )
    options: Options = field(
        default_factory=Options,
        metadata=_about(OPTIONS, "any property of confluent-kafka's SchemaRegistryClient"),
    )
    register: bool = field(
        default=False,
        metadata=_about(
            FLAG,
            "true: our schemas are registered where they are missing; false: they are looked up, "
            "and `processor schemas register` has to be run before",
        ),
    )
    grace_s: float = field(
        default=30,
        metadata=_about(
            seconds(0),
            "the first event with a schema id that the registry does not know waits so long for "
            "it; then such events are dead letters",
        ),
    )


@dataclass(frozen=True, slots=True)
class Events:
    """How to read a delivery report."""

    encoding: str = field(
        default="framed",
        metadata=_about(
            one_of("framed", "plain"),
            "framed: by registry id or single-object fingerprint; plain: bare Avro of our schema",
        ),
    )
    time_fields: tuple[str, ...] = field(
        default=("date_received", "submitted_date"),
        metadata=_about(TEXTS, "the first of these with a usable stamp orders the event"),
    )


@dataclass(frozen=True, slots=True)
class Salesforce:
    """The org, the login, the Task's fields, and the times of writing."""

    domain: str | None = field(
        default=None,
        metadata=_about(
            matching(
                r"(?!.*\.salesforce\.com$)[A-Za-z0-9.-]+", "the My Domain prefix only: acme.my"
            ),
            "the org's My Domain without .salesforce.com: acme.my, acme--uat.sandbox.my",
        ),
    )
    consumer_key: Secret | None = field(
        default=None, metadata=_about(SECRET, "of the connected app")
    )
    consumer_secret: Secret | None = field(
        default=None, metadata=_about(SECRET, "for the client credentials flow")
    )
    username: str | None = field(
        default=None, metadata=_about(TEXT, "for the JWT bearer flow, with private_key_file")
    )
    private_key_file: Path | None = field(
        default=None, metadata=_about(PATH, "PEM file, without a passphrase")
    )
    endpoint_url: Url | None = field(
        default=None,
        metadata=_about(URL, "where set, login and API both go there (a proxy, the sandbox org)"),
    )
    api_version: str = field(
        default="66.0", metadata=_about(matching(r"\d{2,3}\.0", "such as 66.0"), "the REST API's")
    )
    task_id_metadata_key: str = field(
        default="salesforce_task_id",
        metadata=_about(TEXT, "the key of a message's metadata that holds its Task's id"),
    )
    fields: dict[str, str] = field(
        default_factory=lambda: dict(DEFAULT_FIELDS),
        metadata=_about(
            NAMES,
            "field of the Task -> attribute: category, code, description, final, event_time, "
            "message_id, version",
        ),
    )
    failure_hold_s: float = field(
        default=15.0,
        metadata=_about(seconds(0), "a failure waits so long, because a reroute may reopen it"),
    )
    intermediate_hold_s: float = field(
        default=10.0,
        metadata=_about(seconds(0), "an intermediate status waits so long for a final one"),
    )
    unknown_after_s: float = field(
        default=660.0,
        metadata=_about(
            seconds(),
            "a write without an answer is read back after so long; Salesforce works up to 600",
        ),
    )
    settle_interval_s: float = field(
        default=5.0,
        metadata=_about(seconds(0), "what Salesforce confirmed is published every so often"),
    )
    give_up_after_s: float = field(
        default=DAY_S,
        metadata=_about(
            seconds(), "a row that can't be written is refused so long after its status was made"
        ),
    )
    request_timeout_s: float = field(
        default=20.0,
        metadata=_about(
            seconds(), f"for an answer; connecting may take {CONNECT_TIMEOUT_S:g} more"
        ),
    )
    requests_in_flight: int = field(default=2, metadata=_about(whole(1, 25), "at the same time"))
    linger_s: float = field(
        default=1.0,
        metadata=_about(seconds(0), "a row waits so long for others to share its API call"),
    )
    window_rows: int = field(
        default=4_000,
        metadata=_about(whole(200, MAX_WINDOW_ROWS), "rows in the writer's hands at most"),
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


@dataclass(frozen=True, slots=True)
class State:
    """The local store."""

    dir: Path = field(
        default=Path("/var/lib/processor"),
        metadata=_about(
            PATH, "the local store's directory, this process's own; it may be deleted at any time"
        ),
    )
    retention_s: float = field(
        default=7 * DAY_S,
        metadata=_about(
            seconds(60), "a settled message is forgotten so long after its last report"
        ),
    )
    map_limit_bytes: int = field(
        default=64 << 30,
        metadata=_about(whole(1 << 24, MAX_MAP_BYTES), "a partition's file may grow so large"),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events are taken at once."""

    max_records: int = field(
        default=5_000, metadata=_about(whole(1, MAX_BATCH_RECORDS), "when there is no lag")
    )
    catch_up_max_records: int = field(
        default=50_000,
        metadata=_about(
            whole(1, MAX_BATCH_RECORDS), "while catching up: larger batches collapse more"
        ),
    )
    timeout_s: float = field(
        default=0.5, metadata=_about(seconds(most=60), "a batch waits at most so long for events")
    )


@dataclass(frozen=True, slots=True)
class Breaker:
    """What to do with a partition whose events can't be decoded, most of them."""

    enabled: bool = field(
        default=True,
        metadata=_about(
            FLAG,
            "true: a partition of which most recent events can't be decoded is read slowly until "
            "good ones prevail; false: at full speed, which makes a dead letter of each at once",
        ),
    )
    events_per_minute: int = field(
        default=100,
        metadata=_about(whole(1, 1_000_000), "so many events of such a partition are read"),
    )


@dataclass(frozen=True, slots=True)
class Worker:
    """Deadlines."""

    revoke_deadline_s: float = field(
        default=30.0,
        metadata=_about(seconds(), "requests in flight are awaited so long when partitions move"),
    )
    shutdown_deadline_s: float = field(
        default=45.0, metadata=_about(seconds(), "a stop takes at most so long")
    )


@dataclass(frozen=True, slots=True)
class Http:
    """/metrics, /healthz, /readyz."""

    host: str = field(
        default="0.0.0.0",  # noqa: S104 - a scraper is elsewhere
        metadata=_about(TEXT, "address to listen on; :: is every one, IPv6 and IPv4"),
    )
    port: int = field(default=9108, metadata=_about(whole(0, 65_535), "0: any free one"))
    health_limit_s: float = field(
        default=120.0,
        metadata=_about(seconds(), "unhealthy when the loop has not turned for so long"),
    )


@dataclass(frozen=True, slots=True)
class Log:
    """Lines on standard error."""

    level: str = field(
        default="INFO",
        metadata=_about(one_of("DEBUG", "INFO", "WARNING", "ERROR"), "the least severe"),
    )
    format: str = field(
        default="kv", metadata=_about(one_of("kv", "json"), "key=value, or one JSON object a line")
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them. No secret is in its repr."""

    kafka: Kafka = field(default_factory=Kafka)
    schema_registry: SchemaRegistry = field(default_factory=SchemaRegistry)
    events: Events = field(default_factory=Events)
    salesforce: Salesforce = field(default_factory=Salesforce)
    state: State = field(default_factory=State)
    batch: Batch = field(default_factory=Batch)
    breaker: Breaker = field(default_factory=Breaker)
    worker: Worker = field(default_factory=Worker)
    http: Http = field(default_factory=Http)
    log: Log = field(default_factory=Log)

"""The composition root: settings -> a worker with all its parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from processor import FORM
from processor.config.load import require_salesforce
from processor.config.settings import Kafka, Settings
from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.core.mark import Identity, Mark
from processor.core.report.fields import Oddities, ReportRules
from processor.errors import ConfigError, Unavailable
from processor.kafka.avro.decoder import AvroDecoder
from processor.kafka.avro.registry import Registry, prefix_for
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.keys import KeyWatch
from processor.kafka.outbox import KafkaOutbox, MaxBytes, Names
from processor.kafka.source import KafkaSource
from processor.kafka.topics.provenance import Provenance, problems
from processor.kafka.topics.rules import Found
from processor.kafka.topics.topics import Facts, Topics
from processor.kafka.topics.watch import Expected
from processor.ports import Clock
from processor.runtime.clock import SystemClock
from processor.runtime.http import Heartbeat, HttpServer
from processor.runtime.machine import too_few_files
from processor.runtime.metrics import Metrics
from processor.salesforce.client import Client, Login
from processor.salesforce.status_codes import BY_CODE
from processor.salesforce.writer import SalesforceWriter, WriterSettings, window_of
from processor.store.store import LmdbStore
from processor.worker.claim import Claim
from processor.worker.cycle import Limits, Ports, Worker
from processor.worker.lease import Lease, Ownership

log = logging.getLogger(__name__)

ORG: Final = "default"
EVENT_SCHEMA: Final = "delivery_event.avsc"
STATUS_SCHEMA: Final = "delivery_status.avsc"
BROKER_SESSION_S: Final = 45.0  # the broker's default where it decides (KIP-848)
LONGEST_LEASE_S: Final = 30.0  # within the minute that SALESFORCE__UNKNOWN_AFTER_S has to spare


@dataclass(slots=True)
class Application:
    """A worker and what it runs on. `run` once, then `close`. `partitions`: of the events topic.
    `session_s`: how long the group waits for a member that has died. `org`: its id, or its host
    where the org has not answered yet.
    """

    worker: Worker
    partitions: int
    session_s: float
    org: str
    writer: SalesforceWriter
    metrics: CollectorRegistry
    http: HttpServer
    heartbeat: Heartbeat
    resources: ExitStack

    def run(self, stopping: Callable[[], bool]) -> None:
        """Process events until `stopping`, asked once a turn, says so; then hand over cleanly.

        Raises StopProcessing when going on would lose data.
        """

        def stop_now() -> bool:
            self.heartbeat.beat()
            return stopping()

        self.http.start()
        self.worker.run(stop_now)

    def close(self) -> None:
        """Let go of everything. After an error in `run` nothing more is committed."""
        self.resources.close()


def compose(settings: Settings, *, facts: Facts | None = None) -> Application:
    """Build everything; nothing is consumed yet.

    `facts`: of topics that are known to be right (a broker that can't tell). Raises ConfigError
    with what to change, Unavailable when a far side that is needed to start does not answer.
    """
    with ExitStack() as resources:
        clock = SystemClock()
        facts = facts or _topics_of_ours(settings)
        if problem := too_few_files(facts.partitions):
            log.warning("too few open files are allowed", extra={"why": problem})
        registry = connect_registry(settings, clock)
        if registry is not None:
            resources.callback(registry.close)
        stats = Oddities()
        metrics = CollectorRegistry()
        meter = Metrics(
            metrics,
            version=version("sms-status-processor"),
            form=FORM,
            salesforce_codes=BY_CODE,
        )
        source = _source(settings, facts)
        outbox = _outbox(settings, source, registry, facts)
        outbox.renew()
        client = Client(login(settings), meter)
        resources.callback(client.close)
        _check_fields(client, settings)
        claim = _claim(settings, facts, client)
        lease = Lease(Ownership(min(_session_s(settings) / 2, LONGEST_LEASE_S)), clock, claim)
        writer = _writer(settings, client, clock, meter, lease)
        store = LmdbStore(
            settings.state.dir,
            facts.status_topic_id,
            clock=clock,
            delete_retention_ms=facts.delete_retention_ms,
            map_limit_bytes=settings.state.map_limit_bytes,
        )
        events = KeyWatch(decoder(settings, stats, registry), stats, facts.partitions)
        ports = Ports(source, events, outbox, store, writer, meter, clock, claim, lease)
        worker = Worker(ports, rules(settings), _limits(settings), settings.salesforce.fields, ORG)
        resources.callback(worker.abandon)
        heartbeat = Heartbeat(clock, settings.http.health_limit_s)
        http = HttpServer(
            settings.http.host, settings.http.port, metrics, heartbeat.probe, worker.ready
        )
        resources.callback(http.close)
        return Application(
            worker,
            facts.partitions,
            _session_s(settings),
            client.org_id or _host(settings),
            writer,
            metrics,
            http,
            heartbeat,
            resources.pop_all(),
        )


def _topics_of_ours(settings: Settings) -> Facts:
    """Nothing is made, and nothing is read, that does not go with what the group has committed."""
    kafka_topics, kafka = topics(settings), settings.kafka
    events = kafka_topics.events()
    status = kafka_topics.status()
    known = Provenance(kafka.bootstrap_servers, kafka.options, kafka.group_id)
    try:
        committed = known.committed(kafka.events_topic, events.partitions)
    except Unavailable as failure:
        if status is None:  # nothing may be made without knowing
            raise
        log.warning(
            "the status topic could not be checked: each restore checks its own partition",
            extra={"why": failure},
        )
        return kafka_topics.ensure()
    # A group that has written to the topic need not look whose it is: each restore does.
    kept = known.last(kafka.status_topic, status.partitions) if status and not committed else {}
    if wrong := not_ours(kafka, events, status, committed, kept):
        raise ConfigError("; ".join(wrong))
    return kafka_topics.ensure()


def not_ours(
    kafka: Kafka,
    events: Found | None,
    status: Found | None,
    committed: Mapping[int, Mark],
    kept: Mapping[int, Mark],
) -> list[str]:
    """Why the group's offsets, or the records of the status topic, are not for us to go on with.
    A topic that is missing is None.
    """
    ids = [topic.identity if topic else "" for topic in (status, events)]
    ours = Identity(kafka.group_id, "", *ids)
    adopted = frozenset(kafka.adopt_statuses_of)
    return problems(ours, committed, kept, adopted, status_missing=status is None)


def topics(settings: Settings) -> Topics:
    """The three topics, to be made or checked."""
    kafka = settings.kafka
    return Topics(
        kafka.bootstrap_servers,
        kafka.events_topic,
        kafka.status_topic,
        kafka.dead_letter_topic,
        options=kafka.options,
        events_partitions=kafka.events_partitions,
        dead_letter_retention_s=kafka.dead_letter_retention_s,
    )


def connect_registry(settings: Settings, clock: Clock) -> Registry | None:
    """The Schema Registry, where one is set."""
    url = settings.schema_registry.url
    if url is None:
        return None
    options = settings.schema_registry
    return Registry.connect(str(url), options.options, clock, options.grace_s)


def login(settings: Settings) -> Login:
    """How to log in to Salesforce. Raises ConfigError where the settings are not enough."""
    salesforce = require_salesforce(settings)
    return Login(
        domain=salesforce.domain or "",
        consumer_key=str(salesforce.consumer_key or ""),
        consumer_secret=str(salesforce.consumer_secret) if salesforce.consumer_secret else None,
        username=salesforce.username,
        private_key=salesforce.private_key(),
        endpoint_url=str(salesforce.endpoint_url) if salesforce.endpoint_url else None,
        api_version=salesforce.api_version,
        request_timeout_s=salesforce.request_timeouts_s,
        expected_org_id=salesforce.expected_org_id,
    )


def _host(settings: Settings) -> str:
    """Where the org is, without what else a URL may hold."""
    salesforce = settings.salesforce
    if salesforce.endpoint_url:
        return urlsplit(str(salesforce.endpoint_url)).hostname or ""
    return f"{salesforce.domain}.salesforce.com"


def decoder(settings: Settings, stats: Oddities, registry: Registry | None) -> AvroDecoder:
    """Reads events as the settings say."""
    return AvroDecoder(
        [schema_text(EVENT_SCHEMA)],
        ReportRules(settings.events.time_fields, settings.salesforce.task_id_metadata_key),
        stats,
        registry,
        plain=settings.events.encoding == "plain",
    )


def rules(settings: Settings) -> Rules:
    """The core's settings, in milliseconds."""
    salesforce = settings.salesforce
    return Rules(
        failure_hold_ms=round(salesforce.failure_hold_s * 1000),
        intermediate_hold_ms=round(salesforce.intermediate_hold_s * 1000),
        unknown_after_ms=round(salesforce.unknown_after_s * 1000),
        give_up_after_ms=round(salesforce.give_up_after_s * 1000),
        retention_ms=round(settings.state.retention_s * 1000),
    )


def _writer(
    settings: Settings, client: Client, clock: Clock, meter: Metrics, lease: Lease
) -> SalesforceWriter:
    return SalesforceWriter(
        ORG,
        client,
        clock,
        lease,
        WriterSettings(
            window_rows=window_of(settings.salesforce.requests_in_flight),
            linger_s=settings.salesforce.linger_s,
            requests_in_flight=settings.salesforce.requests_in_flight,
        ),
        meter,
    )


def _session_s(settings: Settings) -> float:
    return (settings.kafka.session_timeout_ms or BROKER_SESSION_S * 1000) / 1000


def _limits(settings: Settings) -> Limits:
    pace = BreakerRules(events_per_minute=settings.breaker.events_per_minute)
    return Limits(
        batch_records=settings.batch.max_records,
        catch_up_records=settings.batch.catch_up_max_records,
        poll_timeout_s=settings.batch.timeout_s,
        settle_interval_s=settings.salesforce.settle_interval_s,
        revoke_deadline_s=settings.worker.revoke_deadline_s,
        breaker=pace if settings.breaker.enabled else None,
    )


def _source(settings: Settings, facts: Facts) -> KafkaSource:
    kafka = settings.kafka
    identities = {}
    if facts.events_topic_id:  # else the broker can't tell
        identities[kafka.events_topic] = facts.events_topic_id
        identities[kafka.status_topic] = facts.status_topic_id
    return consumer(
        kafka, kafka.group_id, kafka.events_topic, Expected(facts.partitions, identities)
    )


def consumer(kafka: Kafka, group_id: str, topic: str, expected: Expected) -> KafkaSource:
    """A member of a group that reads a topic, which must be as expected."""
    return KafkaSource(
        kafka.bootstrap_servers,
        group_id,
        topic,
        options=kafka.options,
        group_protocol=kafka.group_protocol,
        session_timeout_ms=kafka.session_timeout_ms,
        expected=expected,
    )


def names(kafka: Kafka) -> Names:
    """The group, and the topics that are read and written."""
    return Names(kafka.group_id, kafka.events_topic, kafka.status_topic, kafka.dead_letter_topic)


def _claim(settings: Settings, facts: Facts, client: Client) -> Claim:
    return Claim(
        settings.kafka.group_id,
        facts.status_topic_id,
        facts.events_topic_id,
        lambda: client.org_id,
        settings.kafka.adopt_statuses_of,
    )


def _outbox(
    settings: Settings, source: KafkaSource, registry: Registry | None, facts: Facts
) -> KafkaOutbox:
    kafka = settings.kafka
    schema = schema_text(STATUS_SCHEMA)
    register = settings.schema_registry.register
    prefix = prefix_for(schema, kafka.status_topic, registry, register=register)
    codec = StatusCodec(schema, prefix, registry)
    return KafkaOutbox(
        kafka.bootstrap_servers,
        source,
        codec,
        names(kafka),
        options=kafka.options,
        transactional_id=kafka.transactional_id,
        max_bytes=MaxBytes(facts.status_max_bytes, facts.dead_letter_max_bytes),
    )


def _check_fields(client: Client, settings: Settings) -> None:
    """An org that is down now does not keep us from consuming; a wrong mapping does."""
    try:
        problems = client.check_fields(settings.salesforce.fields)
    except Unavailable as failure:
        log.warning("the fields of Task could not be checked", extra={"why": failure})
        return
    if problems:
        raise ConfigError("SALESFORCE__FIELDS: " + "; ".join(problems))

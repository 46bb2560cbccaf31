"""The three topics: made where they are missing, refused where they are not as they must be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from processor.errors import ConfigError, ProcessorError, Unavailable
from processor.kafka.client import error_codes
from processor.kafka.client.error_log import NEEDS_SOMEONE
from processor.kafka.client.options import Options, built, checked, connection
from processor.kafka.dead_letters import DEFAULT_MAX_BYTES
from processor.kafka.topics.rules import (
    Finding,
    Found,
    dead_letter_config,
    judge,
)

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 10.0
APPEAR_TIMEOUT_S: Final = 30.0  # until every broker knows of a new topic
HEARSAY_S: Final = 2.0  # how long a topic must be unknown to be missing, and not just new
DELETE_RETENTION_MS: Final = 7 * 24 * 3_600_000  # how long a store may be away and catch up

STATUS_CONFIG: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "delete.retention.ms": str(DELETE_RETENTION_MS),
    "segment.bytes": str(256 * 1024 * 1024),  # what is not yet compacted has to be read back
    "segment.ms": str(24 * 3_600_000),
    "min.cleanable.dirty.ratio": "0.3",
}

_RIGHTS: Final = {"Read": AclOperation.READ, "Write": AclOperation.WRITE}
_NOT_ALLOWED: Final = frozenset(
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
)


class Facts(NamedTuple):
    """What others need to know of the topics."""

    partitions: int
    events_topic_id: str
    status_topic_id: str
    delete_retention_ms: int
    dead_letter_max_bytes: int
    status_max_bytes: int = DEFAULT_MAX_BYTES


class Topics:
    """The topics of one processor. `options` are the user's librdkafka properties.

    `events_partitions` is used only where the events topic is missing; None: then it is refused,
    because it belongs to whoever writes the events. `replication_factor` -1: the broker's default.
    `dead_letter_retention_s`: how long dead letters are to be kept.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        events: str,
        status: str,
        dead_letter: str,
        *,
        options: Options,
        events_partitions: int | None,
        dead_letter_retention_s: float,
        replication_factor: int = -1,
    ) -> None:
        if len({events, status, dead_letter}) < len((events, status, dead_letter)):
            raise ConfigError("the events, status and dead-letter topics must be three topics")
        user = checked(options, group_protocol=None)
        self._trouble: KafkaError | None = None  # the last that the connections had
        config = connection(bootstrap_servers, user) | {"error_cb": self._note}
        self._admin = built(AdminClient, config)
        self._bootstrap_servers = bootstrap_servers
        self._events, self._status, self._dead_letter = events, status, dead_letter
        self._events_partitions = events_partitions
        self._replication_factor = replication_factor
        self._dead_letter_retention_ms = round(dead_letter_retention_s * 1000)

    def ensure(self) -> Facts:
        """Make what is missing. Raises ConfigError, with everything that has to be changed, and
        Unavailable when the broker does not answer.
        """
        events = self.events()
        if self._find(self._status) is None:
            self._create(self._status, events.partitions, STATUS_CONFIG)
        if self._find(self._dead_letter) is None:
            config = dead_letter_config(events, self._dead_letter_retention_ms)
            self._create(self._dead_letter, events.partitions, config)
        status, dead_letter = self._await(self._status), self._await(self._dead_letter)
        findings = judge(events, status, dead_letter, self._dead_letter_retention_ms)
        if fatal := [finding.text for finding in findings if finding.fatal]:
            raise ConfigError("; ".join(fatal))
        for finding in findings:
            if not finding.ok:
                _log.warning("a topic is not as it should be", extra={"why": finding.text})
        return Facts(
            events.partitions,
            events.identity,
            status.identity,
            status.value("delete.retention.ms", DELETE_RETENTION_MS),
            dead_letter.max_bytes,
            status.max_bytes,
        )

    def check(self) -> list[Finding]:
        """How things stand, without changing anything. Raises Unavailable."""
        events = self._wait_for(self._events, HEARSAY_S)
        if events is None:
            made = self._events_partitions is not None
            return [Finding(made, self._missing_events(), fatal=not made)]
        status, dead_letter = self._find(self._status), self._find(self._dead_letter)
        return judge(events, status, dead_letter, self._dead_letter_retention_ms)

    def events(self) -> Found:
        """The events topic, made where it is missing and its partitions are set.

        Raises ConfigError where it is missing, Unavailable when the broker does not answer.
        """
        events = self._wait_for(self._events, 0 if self._events_partitions else HEARSAY_S)
        if events is not None:
            return events
        if self._events_partitions is None:
            raise ConfigError(self._missing_events())
        self._create(self._events, self._events_partitions, {})
        return self._await(self._events)

    def find(self, name: str) -> Found:
        """A topic as it is. Raises ConfigError when it is missing, Unavailable when the broker
        does not answer.
        """
        found = self._wait_for(name, HEARSAY_S)
        if found is None:
            raise ConfigError(f"topic {name} does not exist")
        return found

    def status(self) -> Found | None:
        """The status topic; None: it is missing. Raises Unavailable."""
        return self._wait_for(self._status, HEARSAY_S)

    # -- details -----------------------------------------------------------------------------

    def _missing_events(self) -> str:
        if self._events_partitions is not None:
            return f"{self._events}: missing, and made at the start"
        return f"{self._events}: missing. Create it: {self._command(self._events, '6', {})}"

    def _describe(self, name: str) -> Found | None:
        """Without its settings."""
        (answer,) = self._admin.describe_topics(
            TopicCollection([name]),
            include_authorized_operations=True,
            request_timeout=REQUEST_TIMEOUT_S,
        ).values()
        try:
            found = answer.result(REQUEST_TIMEOUT_S * 2)
        except (KafkaException, FutureTimeoutError) as failure:
            error = failure.args[0] if isinstance(failure, KafkaException) else None
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            if error is not None and error.code() in _NOT_ALLOWED:
                raise ConfigError(
                    f"{name}: we may not describe it; allow Read or Write, which include Describe"
                ) from None
            raise self._unavailable(f"{name}: the broker does not describe it", failure) from None
        allowed = found.authorized_operations  # None: the broker does not tell
        denied = (
            [] if allowed is None else [k for k, right in _RIGHTS.items() if right not in allowed]
        )
        return Found(name, str(found.topic_id), len(found.partitions), None, denied)

    def _find(self, name: str) -> Found | None:
        described = self._describe(name)
        if described is None:
            return None
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        (answer,) = self._admin.describe_configs(
            [resource], request_timeout=REQUEST_TIMEOUT_S
        ).values()
        try:
            entries = answer.result(REQUEST_TIMEOUT_S * 2)
        except (KafkaException, FutureTimeoutError) as failure:
            error = failure.args[0] if isinstance(failure, KafkaException) else None
            if error is not None and error.code() in _NOT_ALLOWED:
                return described
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None  # another broker, which has not heard of it yet
            what = f"{name}: the broker does not tell its settings"
            raise self._unavailable(what, failure) from None
        config = {key: entry.value for key, entry in entries.items() if entry.value is not None}
        return described._replace(config=config)

    def _await(self, name: str) -> Found:
        found = self._wait_for(name, APPEAR_TIMEOUT_S)
        if found is None:
            raise Unavailable(f"{name} was created, and does not appear")
        return found

    def _wait_for(self, name: str, timeout_s: float) -> Found | None:
        """None: not one broker that we asked had heard of it by then."""
        deadline = time.monotonic() + timeout_s
        while (found := self._find(name)) is None and time.monotonic() < deadline:
            time.sleep(0.1)  # nobody tells when a broker has heard of it
        return found

    def _create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        topic = NewTopic(name, partitions, self._replication_factor, config=dict(config))
        (answer,) = self._admin.create_topics([topic], request_timeout=REQUEST_TIMEOUT_S).values()
        try:
            answer.result(REQUEST_TIMEOUT_S * 2)
        except (KafkaException, FutureTimeoutError) as failure:
            error = failure.args[0] if isinstance(failure, KafkaException) else None
            if error is None or error.retriable():
                raise self._unavailable(f"{name} could not be created", failure) from None
            if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                return
            if error.code() in (error_codes.TIMED_OUT, error_codes.TRANSPORT):
                raise Unavailable(f"{name} could not be created: {error.str()}") from None
            command = self._command(name, str(partitions), config)
            raise ConfigError(
                f"{name} could not be created ({error.str()}). Create it: {command}"
            ) from None
        _log.info("topic created", extra={"topic": name, "partition_count": partitions})

    def _note(self, error: KafkaError) -> None:
        if error.code() != error_codes.ALL_BROKERS_DOWN:  # which does not say why
            self._trouble = error

    def _unavailable(self, what: str, failure: Exception) -> ProcessorError:
        """A request that meets no broker ends with its time. Why, only the connections tell: and
        if they were refused, waiting is no help.
        """
        self._admin.poll(0)
        trouble = self._trouble
        if trouble is None:
            return Unavailable(
                f"{what} (are bootstrap.servers and security.protocol right?): {failure}"
            )
        text = f"{what}: {trouble.name()}: {trouble.str()}"
        return ConfigError(text) if trouble.code() in NEEDS_SOMEONE else Unavailable(text)

    def _command(self, name: str, partitions: str, config: Mapping[str, str]) -> str:
        settings = "".join(f" --config {key}={value}" for key, value in config.items())
        return (
            f"kafka-topics.sh --bootstrap-server {self._bootstrap_servers} --create "
            f"--topic {name} --partitions {partitions}{settings}"
        )

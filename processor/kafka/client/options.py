"""Which librdkafka properties a user may set, and what the clients are made of."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from processor.errors import ConfigError

Value = str | int | float | bool
Options = Mapping[str, Value]
Client = TypeVar("Client")

MIN_SESSION_TIMEOUT_MS: Final = 20_000  # twice the transaction timeout; docs/design.md, "The fence"
GROUP_PROTOCOLS: Final = ("classic", "consumer")

_FENCE: Final = "the fence against a second owner of a partition depends on it"
_RESTORE: Final = "restoring the state depends on it"
_OWN_SETTING: Final = "it has a setting of its own"

RESERVED: Final[Mapping[str, str]] = {
    "isolation.level": _RESTORE,
    "auto.offset.reset": _RESTORE,
    "enable.partition.eof": _RESTORE,
    "enable.auto.commit": _FENCE,
    "auto.commit.enable": _FENCE,
    "auto.commit.interval.ms": _FENCE,
    "enable.auto.offset.store": _FENCE,
    "offset.store.method": _FENCE,
    "default.topic.config": _FENCE,
    "transactional.id": _OWN_SETTING,
    "transaction.timeout.ms": _FENCE,
    "enable.idempotence": _FENCE,
    "enable.gapless.guarantee": _FENCE,
    "acks": _FENCE,
    "request.required.acks": _FENCE,
    "message.timeout.ms": _FENCE,
    "delivery.timeout.ms": _FENCE,
    "message.send.max.retries": _FENCE,
    "retries": _FENCE,
    "max.in.flight": _FENCE,
    "max.in.flight.requests.per.connection": _FENCE,
    "partition.assignment.strategy": _FENCE,
    "group.remote.assignor": _FENCE,
    "group.instance.id": _FENCE,
    "group.id": _OWN_SETTING,
    "group.protocol": _OWN_SETTING,
    "bootstrap.servers": _OWN_SETTING,
    "metadata.broker.list": _OWN_SETTING,
    "allow.auto.create.topics": "topics are made at the start, with the right partitions",
}
"""Properties that can't be set by a user, and why."""

_log: Final = logging.getLogger(f"{__name__}.librdkafka")
_log.setLevel(logging.DEBUG)  # what there is of it, the user has asked for: see `connection`
_CREATING: Final = re.compile(r"^Failed to create (consumer|producer): ")
_CONSUMER_ONLY: Final = frozenset(
    (
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "check.crcs",
        "max.partition.fetch.bytes",
        "coordinator.query.interval.ms",
        "group.protocol.type",
    )
)
_CONSUMER_PREFIXES: Final = ("fetch.", "queued.", "consume.")
_PRODUCER_ONLY: Final = frozenset(
    (
        "linger.ms",
        "compression.codec",
        "compression.type",
        "compression.level",
        "partitioner",
        "msg_order_cmp",
        "dr_cb",
        "dr_msg_cb",
        "request.timeout.ms",
    )
)
_PRODUCER_PREFIXES: Final = ("queue.buffering.", "batch.", "sticky.", "delivery.")


def option_problems(options: Options, group_protocol: str | None) -> list[str]:
    """What is wrong with a user's options, one line each; empty: nothing.

    `group_protocol` None: for a client that joins no group.
    """
    problems = [f"{name} can't be set: {why}" for name, why in RESERVED.items() if name in options]
    if group_protocol is None:
        return problems
    if group_protocol not in GROUP_PROTOCOLS:
        problems.append(f"group protocol {group_protocol!r} is none of {GROUP_PROTOCOLS}")
    if group_protocol == "consumer":
        problems += [
            f"{name} can't be set with the group protocol 'consumer': the broker decides it"
            for name in ("session.timeout.ms", "heartbeat.interval.ms")
            if name in options
        ]
    elif (session := options.get("session.timeout.ms")) is not None:
        try:
            low = int(str(session)) < MIN_SESSION_TIMEOUT_MS
        except ValueError:
            problems.append(f"session.timeout.ms is not a number: {session!r}")
        else:
            if low:
                problems.append(
                    f"session.timeout.ms must be {MIN_SESSION_TIMEOUT_MS} or more, so that the "
                    "transaction of a process that died is aborted before its partitions move"
                )
    return problems


def refused(options: Options, group_protocol: str, session_timeout_ms: int | None) -> list[str]:
    """What is wrong with a user's options, one line each, also in librdkafka's opinion: a property
    or a file that is not there, a value out of range. Nothing is connected to.
    """
    if problems := option_problems(options, group_protocol):
        return problems
    session = {} if session_timeout_ms is None else {"session.timeout.ms": session_timeout_ms}
    consumer = consumer_options("", options) | {"group.id": "none", **session}
    clients: list[tuple[Callable[[dict[str, Any]], object], dict[str, Value]]] = [
        (Consumer, consumer | {"group.protocol": group_protocol}),
        (Producer, producer_options("", options)),
    ]
    for make, config in clients:
        del config["bootstrap.servers"]
        try:
            made = make(config)
        except (KafkaException, TypeError, ValueError) as error:
            said = error.args[0]
            text = said.str() if isinstance(said, KafkaError) else str(said)
            problems.append(_CREATING.sub("", text).strip())
        else:
            if isinstance(made, Consumer):
                made.close()
    return list(dict.fromkeys(problems))


def checked(options: Options, group_protocol: str | None) -> dict[str, Value]:
    """The options, or ConfigError with everything that is wrong with them."""
    if problems := option_problems(options, group_protocol):
        raise ConfigError("Kafka options: " + "; ".join(problems))
    return dict(options)


def connection(bootstrap_servers: str, options: Options) -> dict[str, Value]:
    """What every client needs: the user's options that fit any client, and the address.

    librdkafka's own log on standard error tells of every lost connection as an error, several
    times over. What matters of it reaches us with a code, so it is off; `debug` or `log_level`
    among the options turn it on.
    """
    mine = {
        name: value
        for name, value in options.items()
        if not _is_consumer_only(name) and not _is_producer_only(name)
    }
    quiet: dict[str, Value] = {} if "debug" in options else {"log_level": 0}
    return {**quiet, **mine, "bootstrap.servers": bootstrap_servers}


def consumer_options(bootstrap_servers: str, options: Options) -> dict[str, Value]:
    """The user's options that a consumer understands, and the address."""
    mine = {name: value for name, value in options.items() if _is_consumer_only(name)}
    return {**mine, **connection(bootstrap_servers, options)}


def producer_options(bootstrap_servers: str, options: Options) -> dict[str, Value]:
    """The user's options that a producer understands, and the address."""
    mine = {name: value for name, value in options.items() if _is_producer_only(name)}
    return {**mine, **connection(bootstrap_servers, options)}


def built(make: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """A client. Raises ConfigError for an option that librdkafka does not take.

    What librdkafka logs (see `connection`) goes to our log: a fatal error has no level that would
    keep it off standard error. It is handed over when the client is polled. Nobody polls an admin
    client, which would keep every line for ever; it has no fatal errors, so its log stays as it is.
    """
    if make is not AdminClient:
        config = {**config, "logger": _log}
    try:
        return make(config)
    except KafkaException as error:
        raise ConfigError(f"Kafka options: {error.args[0].str()}") from None


def _is_consumer_only(name: str) -> bool:
    return name in _CONSUMER_ONLY or name.startswith(_CONSUMER_PREFIXES)


def _is_producer_only(name: str) -> bool:
    return name in _PRODUCER_ONLY or name.startswith(_PRODUCER_PREFIXES)

"""What a client of Kafka complains of, told once each until Kafka answers again; and what somebody
has to mend, again every minute.

librdkafka reports every failed connection, to each partition that it reads: hundreds of the same
while a broker is away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError

from processor.kafka.client import error_codes

_log = logging.getLogger(__name__)

TELL_AGAIN_S: Final = 60.0
NEEDS_SOMEONE: Final = frozenset(
    (
        error_codes.AUTHENTICATION,
        error_codes.SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
)


class ErrorLog:
    """Of one client. `purpose`: what it is there for, as in "read events"."""

    def __init__(self, purpose: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._purpose = purpose
        self._monotonic_s = monotonic_s
        self._told: dict[str, float] = {}

    def tell(self, error: KafkaError) -> None:
        """Also called by the client itself, from inside `consume`."""
        told_at, now_s = self._told.get(error.name()), self._monotonic_s()
        urgent = error.code() in NEEDS_SOMEONE
        if told_at is None or (urgent and now_s - told_at >= TELL_AGAIN_S):
            self._told[error.name()] = now_s
            fields = {"purpose": self._purpose, "reason": error.name(), "why": error.str()}
            if urgent:
                _log.error(
                    "Kafka refuses this client: check its credentials and certificates, the names "
                    "of the topics and the group, and the ACLs",
                    extra=fields,
                )
            else:
                _log.warning("Kafka does not answer as it should", extra=fields)

    def over(self) -> None:
        """Something was read."""
        if self._told:
            self._told.clear()
            _log.info("Kafka answers again", extra={"purpose": self._purpose})

"""What a client of Kafka complains of, told once each until Kafka answers again.

librdkafka reports every failed connection, to each partition that it reads: hundreds of the same
while a broker is away.
"""

from __future__ import annotations

import logging
from typing import Final

from confluent_kafka import KafkaError

from processor.kafka import client_errors

_log = logging.getLogger(__name__)

NEEDS_SOMEONE: Final = frozenset(
    (
        client_errors.AUTHENTICATION,
        client_errors.SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
)


class Troubles:
    """Of one client. `to`: what it is there for, as in "read events"."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._told: set[str] = set()

    def tell(self, error: KafkaError) -> None:
        """Also called by the client itself, from inside `consume`."""
        if error.name() not in self._told:
            self._told.add(error.name())
            level = logging.ERROR if error.code() in NEEDS_SOMEONE else logging.WARNING
            _log.log(level, "Kafka does not let us %s: %s: %s", self._to, error.name(), error.str())

    def over(self) -> None:
        """Something was read."""
        if self._told:
            self._told.clear()
            _log.info("Kafka lets us %s again", self._to)

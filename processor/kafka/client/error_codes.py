"""librdkafka's own error codes, as distinct from the broker's. Their names begin with `_`."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 # how the client names its codes
AUTO_OFFSET_RESET: Final = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 # the same
AUTHENTICATION: Final = KafkaError._AUTHENTICATION  # noqa: SLF001 # the same
ALL_BROKERS_DOWN: Final = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 # the same
SSL: Final = KafkaError._SSL  # noqa: SLF001 # the same
TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001 # the same
TRANSPORT: Final = KafkaError._TRANSPORT  # noqa: SLF001 # the same
FENCED: Final = KafkaError._FENCED  # noqa: SLF001 # the same
QUEUE_FULL: Final = KafkaError._QUEUE_FULL  # noqa: SLF001 # the same
UNKNOWN_TOPIC: Final = KafkaError._UNKNOWN_TOPIC  # noqa: SLF001 # the same
UNKNOWN_PARTITION: Final = KafkaError._UNKNOWN_PARTITION  # noqa: SLF001 # the same

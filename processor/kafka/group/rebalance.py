"""Is the group just moving partitions? Whoever leaves in the middle of that can't say so.

With the classic protocol a join is answered only when all members have come, and a broker takes
one request of a connection after the other: a client that is closed meanwhile hangs up before its
LeaveGroup was read. Its place, and the partitions that the group then gives it, stand empty until
the session is over.
"""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from processor.kafka.client.options import Options, built, connection

REQUEST_TIMEOUT_S: Final = 2.0

_MOVING: Final = frozenset(
    (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING)
)


class RebalanceWatch:
    """Asks about one group."""

    def __init__(self, bootstrap_servers: str, options: Options, group_id: str) -> None:
        self._admin = built(AdminClient, connection(bootstrap_servers, options))
        self._group_id = group_id

    def is_settled(self) -> bool:
        """Whether the group is not moving anything; also where nobody tells."""
        asked = self._admin.describe_consumer_groups(
            [self._group_id], request_timeout=REQUEST_TIMEOUT_S
        )
        try:
            found = asked[self._group_id].result(REQUEST_TIMEOUT_S)
        except (KafkaException, FutureTimeoutError):
            return True
        return found.state not in _MOVING

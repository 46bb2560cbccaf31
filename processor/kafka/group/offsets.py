"""Where partitions begin and end, as the broker sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo, OffsetSpec

from processor.errors import Unavailable
from processor.kafka.client.options import Options, built, connection

REQUEST_TIMEOUT_S: Final = 10.0
LAG_INTERVAL_S: Final = 5.0  # how often the ends are asked for
LAG_STALE_S: Final = 30.0  # an end that was told longer ago says nothing of the lag

Answer = Future[ListOffsetsResultInfo]

_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call] # theirs
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs


class Offsets:
    """Asks for the bounds of partitions."""

    def __init__(self, bootstrap_servers: str, options: Options) -> None:
        self._connection = connection(bootstrap_servers, options)
        self._admin = built(AdminClient, self._connection)

    def renew(self) -> None:
        """After a failed answer. A client remembers the leader epoch of each partition that it has
        asked for, and after the leader has changed every further answer of it is a failure.
        """
        self._admin = built(AdminClient, self._connection)

    def ask_high_watermark(self, topic: str, partition: int) -> Answer:
        """The end of the log, open transactions included."""
        return self._ask(topic, [partition], _LATEST, committed=False)[partition]

    def ask_low_watermark(self, topic: str, partition: int) -> Answer:
        """The first offset that is kept."""
        return self._ask(topic, [partition], _EARLIEST, committed=False)[partition]

    def ask_stable_ends(self, topic: str, partitions: Collection[int]) -> dict[int, Answer]:
        """The ends that a read-committed reader sees."""
        return self._ask(topic, partitions, _LATEST, committed=True)

    def beginning(self, topic: str, partition: int) -> int:
        """The first offset that is kept. Raises Unavailable."""
        answer = self.ask_low_watermark(topic, partition)
        try:
            return answer.result(REQUEST_TIMEOUT_S).offset
        except (KafkaException, FutureTimeoutError) as error:
            self.renew()
            raise Unavailable(f"{topic} does not tell where it begins: {error}") from error

    def _ask(
        self, topic: str, partitions: Collection[int], spec: OffsetSpec, *, committed: bool
    ) -> dict[int, Answer]:
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        wanted = {TopicPartition(topic, partition): spec for partition in partitions}
        if not wanted:
            return {}
        answers = self._admin.list_offsets(
            wanted, isolation_level=level, request_timeout=REQUEST_TIMEOUT_S
        )
        return {place.partition: answer for place, answer in answers.items()}


class LogEnds:
    """The ends of the events partitions, at most so old, without waiting for any answer."""

    def __init__(
        self,
        bootstrap_servers: str,
        options: Options,
        topic: str,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._offsets = Offsets(bootstrap_servers, options)
        self._topic = topic
        self._monotonic_s = monotonic_s
        self._asked: dict[int, Answer] = {}
        self._asked_at = float("-inf")
        self._known: dict[int, tuple[int, float]] = {}  # the end, and when it was told
        self._answered_at = float("-inf")

    def silent_s(self) -> float:
        """For how long Kafka has told no end; infinite: it never has."""
        return self._monotonic_s() - self._answered_at

    def latest(self, partitions: Collection[int]) -> Mapping[int, int]:
        """What is known of these partitions. One not heard of, or not for long, is left out."""
        failed = False
        for partition, answer in list(self._asked.items()):
            if answer.done():
                del self._asked[partition]
                if answer.exception() is None:
                    self._answered_at = self._monotonic_s()
                    self._known[partition] = answer.result().offset, self._answered_at
                else:
                    failed = True
        if failed:
            self._offsets.renew()
        now = self._monotonic_s()
        old = now - self._asked_at >= LAG_INTERVAL_S or not self._known.keys() >= set(partitions)
        if old and not self._asked:
            self._asked = self._offsets.ask_stable_ends(self._topic, partitions)
            self._asked_at = now
        known = {p: self._known[p] for p in partitions if p in self._known}
        return {p: end for p, (end, told_at) in known.items() if now - told_at < LAG_STALE_S}

"""The fence: what is written, and how far was read, is one transaction of a member of the group.

Kafka fences members of a group, not partitions, and only in transactions that hold offsets. So
no transaction is begun that does not carry the position of every partition it writes for, as the
member that the last poll left us with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, Message, TopicPartition

from processor.errors import StopProcessing, Unavailable
from processor.kafka.client.producer import UNASSIGNED, Dead, FencedOff, Moving, MustAbort
from processor.kafka.group.membership import Group
from processor.kafka.group.rivals import Rivals
from processor.ports import Aborted, Committed, CommittedOffset, Fenced


class Producer(Protocol):
    """One client, from `open` until it is discarded. `TransactionalProducer` is one, and says what
    each call raises.
    """

    def open(self) -> None: ...
    def begin(self) -> None: ...
    def produce_all(self, topic: str, partition: int, messages: list[dict[str, Any]]) -> None: ...
    def produce(
        self,
        topic: str,
        key: bytes | str | None,
        value: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        timestamp_ms: int = 0,
        *,
        partition: int = UNASSIGNED,
        callback: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None: ...
    def flush(self) -> None: ...
    def send_offsets(self, places: Sequence[TopicPartition], member: bytes) -> None: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...
    def discard(self) -> None: ...


MakeProducer = Callable[[Callable[[], float]], Producer]
"""Takes when all calls have to be over (as `time.monotonic`), which may become earlier."""


class Transactions:
    """Transactions of one process, one after the other, and the life of the producer behind them.

    `topic` is what the group reads; `beginning` tells where a partition of it begins, and raises
    Unavailable.
    """

    def __init__(
        self,
        group: Group,
        topic: str,
        beginning: Callable[[str, int], int],
        make_producer: MakeProducer,
        rivals: Rivals,
    ) -> None:
        self._group = group
        self._topic = topic
        self._beginning = beginning
        self._make_producer = make_producer
        self._rivals = rivals
        self._producer: Producer | None = None
        self._until_s = float("inf")  # when we are to have left

    def hurry(self, within_s: float) -> None:
        """We are leaving: all calls together take about so long, and no producer is made."""
        self._until_s = time.monotonic() + within_s

    def renew(self) -> None:
        """A new producer, which ends the transaction that an earlier one of its id left open.

        Raises Unavailable, also where it is too early after having been fenced again and again;
        ConfigError for options or an id that are not allowed.
        """
        self._opened()

    def commit(
        self,
        positions: Mapping[int, CommittedOffset],
        written: Collection[int],
        write: Callable[[Producer], Committed],
    ) -> Committed | Aborted | Fenced:
        """What `write` produces, for the partitions `written`, together with the positions (the
        next offset, below 0 where nothing was read yet, and the text beside it) of these and
        perhaps other partitions of ours. Returns what `write` returned once it is committed.

        Raises Unavailable where nothing was begun, StopProcessing where Kafka refuses a record for
        good, and RuntimeError for a bug of the caller: a partition that is written without its
        position, or is not ours.
        """
        self._require_sound(positions, written)
        if not positions:
            return Committed({})
        member = self._group.member()
        if member is None:
            raise Unavailable("we are no member of the group now")
        if self._producer is None and self._until_s < float("inf"):
            raise Unavailable("no producer, and no time for a new one")
        producer = self._producer or self._opened()
        places = self._places(positions)
        try:
            producer.begin()
            done = write(producer)
            producer.send_offsets(places, member)
            producer.commit()
        except MustAbort as error:
            return self._abort(producer, str(error), moving=isinstance(error, Moving))
        except StopProcessing:
            self._abort(producer, "a record was refused", moving=False)
            raise
        except Dead as error:
            if isinstance(error, FencedOff):
                self._rivals.fenced()
            self.discard()
            return Fenced(str(error))
        return done

    def discard(self) -> None:
        """Let go of the producer without waiting for anything."""
        if self._producer is not None:
            self._producer.discard()
            self._producer = None

    # -- details -----------------------------------------------------------------------------

    def _require_sound(
        self, positions: Mapping[int, CommittedOffset], written: Collection[int]
    ) -> None:
        """What the fence stands on. A breach is a bug of the caller, not of the day."""
        if bare := set(written) - positions.keys():
            raise RuntimeError(f"a transaction without the positions of partitions {sorted(bare)}")
        if foreign := positions.keys() - set(self._group.assigned()):
            raise RuntimeError(f"a transaction for partitions {sorted(foreign)}, not ours")

    def _places(self, positions: Mapping[int, CommittedOffset]) -> list[TopicPartition]:
        """The offsets to send. None may be negative: such are left out on the way, and with
        them the fence. A partition of which nothing was read yet stands at its beginning.
        """
        return [
            TopicPartition(
                self._topic,
                partition,
                at.offset if at.offset >= 0 else self._beginning(self._topic, partition),
                at.metadata,
            )
            for partition, at in positions.items()
        ]

    def _opened(self) -> Producer:
        self.discard()
        if wait_s := self._rivals.wait_s():
            raise Unavailable("it was fenced again and again", wait_s)
        producer = self._make_producer(lambda: self._until_s)
        try:
            producer.open()
        except Unavailable:
            producer.discard()
            raise
        self._rivals.opened()
        self._producer = producer
        return producer

    def _abort(self, producer: Producer, why: str, *, moving: bool) -> Aborted | Fenced:
        try:
            producer.abort()
        except Dead as error:
            self.discard()
            return Fenced(f"{why}; then {error}")
        return Aborted(why, moving)

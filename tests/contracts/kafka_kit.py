"""Kafka as the contract suites see it: the simulation's (`simulated_kafka.py`) or a real one
(`real_kafka.py`).

A suite makes processes of one group, tells what is in the topics and what goes wrong, and never
learns which side it runs on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol, TypeVar

from processor.core.events import MessageState
from processor.ports import CommittedOffset, Outbox, RawRecord, Restored, Source
from tests.integration.kit import Recorder

POLL_S: Final = 0.1
PATIENCE_S: Final = 30.0
T = TypeVar("T")


class Letter(NamedTuple):
    """A dead letter as it lies in the topic. `about`: an event's place, or a message id."""

    stage: str
    reason: str
    about: tuple[int, int] | str


class Held(Protocol):
    """A transaction of somebody else's, neither committed nor aborted."""

    def commit(self) -> None: ...
    def abort(self) -> None: ...


class Process:
    """A member of the group: the parts that a worker would be given."""

    def __init__(
        self, kafka: KafkaSide, source: Source, outbox: Outbox, listener: Recorder
    ) -> None:
        self.source, self.outbox, self.listener = source, outbox, listener
        self._kafka = kafka

    def poll(self, max_records: int = 1_000) -> list[RawRecord]:
        """Of all partitions, one after the other."""
        batches = self.source.poll(max_records, POLL_S)
        records = [record for batch in batches.values() for record in batch]
        assert len(records) <= max_records
        for partition, batch in batches.items():
            assert {record.partition() for record in batch} == {partition}
        self._kafka.pass_on(POLL_S)
        return records

    def read(self, count: int) -> list[RawRecord]:
        """The next records, exactly so many."""
        records: list[RawRecord] = []

        def enough() -> bool:
            records.extend(self.poll())
            return len(records) >= count

        self._kafka.until(enough)
        assert len(records) == count
        return records

    def polls_until(self, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Nothing may come meanwhile."""

        def quietly() -> object:
            assert self.poll() == []
            return condition()

        self._kafka.until(quietly, within_s)

    def join(self, *partitions: int, within_s: float = PATIENCE_S) -> Process:
        """Poll until exactly these partitions are ours."""
        self.outbox.renew()
        self.polls_until(lambda: self.owns(*partitions), within_s)
        return self

    def owns(self, *partitions: int) -> bool:
        return self.source.joined() and self.listener.owned == set(partitions)

    def start(self) -> Process:
        """Read everything that is ours from its committed offset."""
        for partition in self.listener.owned:
            self.source.start(partition, self.committed(partition).offset)
        return self

    def committed(self, partition: int) -> CommittedOffset:
        return self._kafka.until(lambda: self.source.committed(partition, 1.0))

    def rejoin(self) -> None:
        self.source.rejoin()
        self.listener.owned.clear()

    def steps(
        self, partition: int, checkpoint: int | None = None, max_records: int = 1_000
    ) -> list[Restored]:
        """A whole restore, step by step, without those that gave nothing."""
        self.committed(partition)
        restore = self.outbox.restore(partition, checkpoint)
        found: list[Restored] = []

        def done() -> bool:
            step = restore.step(max_records, POLL_S)
            if step.changes or step.done:
                found.append(step)
            return step.done

        self._kafka.until(done)
        restore.close()
        return found

    def restore(self, partition: int, checkpoint: int | None = None) -> Restored:
        """All of it in one piece."""
        steps = self.steps(partition, checkpoint)
        mark = next((step.mark for step in reversed(steps) if step.mark), "")
        changes = [change for step in steps for change in step.changes]
        return steps[-1]._replace(changes=changes, mark=mark)


class KafkaSide(ABC):
    """The topics of one group. `many`: records that take more than one poll."""

    many: int

    @abstractmethod
    def process(self, name: str | None = None, *, hasty: bool = False) -> Process:
        """A process that has subscribed. `name`: its stable one. `hasty`: may be thrown out."""

    @abstractmethod
    def produce(self, partition: int, count: int) -> list[int]:
        """Events come in; their offsets."""

    @abstractmethod
    def leave_markers(self, partition: int) -> None:
        """An aborted transaction takes offsets at the end of the events."""

    @abstractmethod
    def delete_before(self, partition: int, offset: int) -> None:
        """Events have been kept long enough."""

    @abstractmethod
    def hold(self, process: Process, partition: int, key: str, committed: CommittedOffset) -> Held:
        """In the name of a process's member: a status is written, an offset is sent."""

    @abstractmethod
    def behind(self, process: Process) -> AbstractContextManager[None]:
        """The group has a new generation, and the process has not heard of it."""

    @abstractmethod
    def take_the_name(self, name: str) -> None:
        """Another process has come by this name."""

    @abstractmethod
    def throw_out(self, process: Process) -> None:
        """The group has no such member any more, and the process does not know yet."""

    @abstractmethod
    def statuses(self) -> list[tuple[int, str, MessageState | None]]:
        """Partition, key and value of whatever a read-committed reader sees, by partition."""

    @abstractmethod
    def letters(self) -> list[Letter]: ...

    @abstractmethod
    def pass_on(self, seconds: float) -> None:
        """Time that a call would have taken."""

    def let_pass(self, call: Callable[[], T]) -> T:
        """A call, and the time that it takes."""
        answer = call()
        self.pass_on(POLL_S)
        return answer

    @abstractmethod
    def until(self, condition: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
        """The first truthy answer."""


KafkaWith = Callable[[int], KafkaSide]
"""Makes the topics of a new group, with so many partitions."""


def offsets(records: Iterable[RawRecord], partition: int = 0) -> list[int | None]:
    return [record.offset() for record in records if record.partition() == partition]

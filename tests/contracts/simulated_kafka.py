"""The simulation's Kafka for the contract suites. Time passes only in `pass_on`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from processor.core.events import DeliveryEvent, MessageState
from processor.ports import CommittedOffset, DeadLetter, Source
from tests.contracts.kafka_kit import PATIENCE_S, POLL_S, Held, KafkaSide, Letter, Process, T
from tests.integration.kit import Recorder, state
from tests.simulation.broker import Broker, Fate, Txn
from tests.simulation.kafka import SimOutbox, SimSource
from tests.simulation.machine import Machine
from tests.simulation.world import Changes, World

FAIR: Final[Changes] = {
    "tells_itself": True,
    "stable_ids": True,
    "transaction_timeout_s": 1_000.0,
}


class Letters:
    """Keeps the dead letters of what is committed."""

    def __init__(self) -> None:
        self.kept: list[DeadLetter] = []

    def committed(self, txn: Txn) -> None:
        self.kept += txn.letters

    def set_back(self, partition: int, offset: int) -> None: ...


class SimHeld:
    def __init__(self, broker: Broker, txn: Txn) -> None:
        self._broker, self._txn = broker, txn

    def commit(self) -> None:
        assert self._broker.commit(self._txn)

    def abort(self) -> None:
        self._broker.abort(self._txn)


class SimulatedKafka(KafkaSide):
    """In fair weather: whatever goes wrong, the suite asks for."""

    many = 60

    def __init__(self, partitions: int) -> None:
        self._world = World(1, {**FAIR, "partitions": partitions}, None)
        self._world.calm = True
        self._letters = Letters()
        self._broker = Broker(self._world, self._letters)
        self._sources: dict[Source, SimSource] = {}
        self._named = 0

    def process(self, name: str | None = None, *, hasty: bool = False) -> Process:
        self._named += 1
        number = f"p{self._named}"
        machine = Machine(self._world, self._broker.group, name or number, number)
        source = SimSource(machine, self._broker)
        self._sources[source] = source
        listener = Recorder()
        source.subscribe(listener)
        return Process(self, source, SimOutbox(machine, self._broker, source), listener)

    def produce(self, partition: int, count: int) -> list[int]:
        for number in range(count):
            event = DeliveryEvent(f"m{number}", 200, self._world.wall_ms(), 0, "00T1", None)
            self._broker.produce(event, partition)
        return [record.place for record in self._broker.events[partition][-count:]]

    def leave_markers(self, partition: int) -> None:
        self._broker.ends[partition] += 2

    def delete_before(self, partition: int, offset: int) -> None:
        self._broker.delete_before(partition, offset)

    def hold(self, process: Process, partition: int, key: str, committed: CommittedOffset) -> Held:
        broker = self._broker
        txn = broker.begin("another", "another", broker.register("another"))
        assert txn is not None
        broker.write(txn, partition, key, state(key), "")
        who = self._sources[process.source].identity()
        assert broker.add_offsets(txn, {partition: committed}, who) == ""
        return SimHeld(broker, txn)

    @contextmanager
    def behind(self, process: Process) -> Iterator[None]:
        self._broker.group.shuffle()
        yield
        process.poll()

    def take_the_name(self, name: str) -> None:
        self._broker.register(name)

    def throw_out(self, process: Process) -> None:
        member = self._sources[process.source].member()
        assert member is not None
        self._broker.group.expel(member)

    def statuses(self) -> list[tuple[int, str, MessageState | None]]:
        self.pass_on(POLL_S)  # until the markers are written
        return [
            (partition, entry.key, entry.state)
            for partition, log in enumerate(self._broker.statuses)
            for entry in log.entries
            if entry.txn.fate is Fate.COMMITTED
        ]

    def letters(self) -> list[Letter]:
        found = []
        for stage, reason, _, _, record, refused in self._letters.kept:
            if record is not None:
                about = record.partition() or 0, record.offset() or 0
                found.append(Letter(stage, reason, about))
            elif refused is not None:
                found.append(Letter(stage, reason, refused.message_id))
        return found

    def pass_on(self, seconds: float) -> None:
        self._world.run_until(self._world.now + seconds)

    def until(self, condition: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
        limit = self._world.now + within_s
        while not (answer := condition()):
            assert self._world.now < limit, "waited in vain"
            self.pass_on(POLL_S)
        return answer

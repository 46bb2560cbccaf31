"""`processor rekey` and the fence itself (`kafka/transactions.py`), on the simulated broker.

The transactions are the program's own here, and only the producer under them is simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, Message, TopicPartition

from processor.commands.rekey import copier
from processor.core import mark
from processor.core.events import DeliveryEvent
from processor.errors import Unavailable
from processor.kafka import transactions
from processor.kafka.client.producer import Dead, FencedOff, Moving, MustAbort
from processor.kafka.group.rivals import Rivals
from processor.ports import CommittedOffset
from tests.simulation.broker import Broker, Fate, Txn
from tests.simulation.group import Identity, Member
from tests.simulation.kafka import SimDecoder, SimSource, away
from tests.simulation.machine import Machine
from tests.simulation.run import Host, Parts, Process, Scene
from tests.simulation.store import Disk
from tests.simulation.weather import SESSION_S
from tests.simulation.world import TRACE_STEPS, Violation, World

EVENTS: Final = 60
LONGEST_DRAIN_S: Final = 120.0
STILL: Final = dict.fromkeys(
    ("store_lost", "reset_every_s", "rewrite_every_s", "compact_every_s"), 0.0
)


class Target:
    """Implements `Observer`: the topic that is written, as a read-committed reader sees it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.found: Counter[str] = Counter()
        self.written: dict[Txn, list[str]] = {}

    def committed(self, txn: Txn) -> None:
        self.found.update(self.written.pop(txn, []))
        if twice := [key for key, times in self.found.items() if times > 1]:
            raise Violation("copied once", f"{twice} were copied twice, by {txn.who}")

    def set_back(self, partition: int, offset: int) -> None:
        raise AssertionError("nobody moves the offsets")


class SimProducer:
    """Implements `transactions.Producer`."""

    def __init__(self, machine: Machine, broker: Broker, target: Target) -> None:
        self._machine, self._broker, self._target = machine, broker, target
        self._world = machine.world
        self._epoch = -1
        self._txn: Txn | None = None

    def open(self) -> None:
        self._machine.point("renew")
        if away(self._broker, self._machine):
            raise Unavailable("broker", 0.5)
        self._epoch = self._broker.register(self._machine.name)

    def begin(self) -> None:
        self._machine.point("before commit")
        self._answer()
        self._txn = self._broker.begin(self._machine.name, self._machine.name, self._epoch)
        if self._txn is None:
            raise FencedOff("a newer producer, or the last transaction's timeout")
        self._target.written[self._txn] = []

    def produce_all(self, topic: str, partition: int, messages: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def produce(
        self,
        topic: str,
        key: bytes | str | None,
        value: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        timestamp_ms: int = 0,
        *,
        partition: int = -1,
        callback: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        assert isinstance(key, bytes)
        self._target.written[self._open()].append(key.decode())

    def flush(self) -> None:
        raise NotImplementedError

    def send_offsets(self, places: Sequence[TopicPartition], member: bytes) -> None:
        self._machine.point("statuses written")
        self._answer()
        positions = {
            p.partition: CommittedOffset(p.offset, p.metadata or "")
            for p in places
            if p.offset >= 0
        }
        if self._open().fate is Fate.OPEN and positions:  # else the commit will tell
            refusal = self._broker.add_offsets(self._open(), positions, named(member))
            if refusal:
                raise Moving(refusal)
        self._machine.point("offsets added")

    def commit(self) -> None:
        txn, weather = self._open(), self._world.weather
        self._answer()
        if self._world.chance(weather.abort):
            raise MustAbort("told to abort")
        if self._world.chance(weather.unknown_commit):
            if self._world.rng.random() < 0.5:
                self._broker.commit(txn)
            raise Dead("no answer to the commit")
        if not self._broker.commit(txn):
            raise FencedOff("the transaction's own timeout")
        self._machine.point("committed")

    def abort(self) -> None:
        if away(self._broker, self._machine):
            raise Dead("no answer to the abort")
        self._broker.abort(self._open())

    def discard(self) -> None:
        pass

    def _open(self) -> Txn:
        assert self._txn is not None
        return self._txn

    def _answer(self) -> None:
        if away(self._broker, self._machine):
            self._machine.wait(self._world.rng.uniform(0.5, SESSION_S), lambda: False)
            raise Dead("no answer")


def named(member: bytes) -> Identity | None:
    """Who sends the offsets; None: it does not say, and nobody is checked."""
    return Identity(*map(int, member.split())) if member else None


class Copier:
    """A process: `Rekey`, its transactions and its ends of the world."""

    def __init__(self, scene: CopyScene, machine: Machine) -> None:
        self._machine, self._broker = machine, scene.broker
        self.stopping = False
        self.source = SimSource(machine, scene.broker)
        self._rekey = scene.copier.Rekey(
            self.source,
            SimDecoder(machine),
            scene.rules.Transactions(
                Membership(self.source),
                "events",
                self._beginning,
                lambda _: SimProducer(machine, scene.broker, scene.target),
                Rivals(None, machine.monotonic_s, machine.world.rng),
            ),
            "keyed",
            mark.Identity("group", "", "", "events"),
            machine,
        )
        self._is_open = False

    def member(self) -> Member | None:
        return self.source.member()

    def turn(self) -> None:
        if self.stopping:
            self._rekey.close()
            self._machine.die("told to stop")
            return
        try:
            if not self._is_open:
                self._rekey.open()
                self._is_open = True
        except Unavailable as failure:
            self._machine.die(str(failure))
            return
        self._rekey.turn()

    def _beginning(self, topic: str, partition: int) -> int:
        if away(self._broker, self._machine):
            raise Unavailable("broker", 0.5)
        return 0


class Membership:
    """Implements `membership.Group`."""

    def __init__(self, source: SimSource) -> None:
        self._source = source

    def assigned(self) -> set[int]:
        return self._source.told

    def is_stable(self, partition: int) -> bool:
        raise NotImplementedError

    def member(self) -> bytes | None:
        identity = self._source.identity()
        return None if identity is None else b"%d %d" % identity


class CopyScene(Scene):
    """Everything of one run. `rules` and `copying`: the modules, or what wrong ones define."""

    def __init__(self, seed: int, rules: Any, copying: Any) -> None:
        self.world = World(seed, STILL, TRACE_STEPS)
        self.parts = Parts()
        self.at_rest = False
        self.rules, self.copier = rules, copying
        self.target = Target(self.world)
        self.broker = Broker(self.world, self.target)
        self.hosts = [Host(self, number) for number in range(self.world.weather.hosts)]

    def process(self, machine: Machine, disk: Disk) -> Process:
        return Copier(self, machine)

    def play(self) -> None:
        world, rng, partitions = self.world, self.world.rng, self.world.weather.partitions
        for number in range(EVENTS):
            event = DeliveryEvent(f"m{number}", 200, world.wall_ms(), 0, None, None)
            partition = rng.randrange(partitions)
            at = rng.uniform(0.0, world.weather.faults_until_s)
            world.at(at, partial(self._arrives, event, partition))
        for host in self.hosts:
            world.at(rng.uniform(0.0, 3.0), host.start)
        self._faults()
        world.run_until(world.weather.faults_until_s)
        world.calm = True
        self.broker.down_until = 0.0
        deadline = world.now + LONGEST_DRAIN_S
        while self.target.found.total() < EVENTS:
            if world.now > deadline:
                left = {f"m{number}" for number in range(EVENTS)} - self.target.found.keys()
                raise Violation("copied once", f"never copied: {sorted(left)}")
            world.run_until(world.now + 1.0)
        world.run_until(world.now + SESSION_S)  # nothing more comes

    def _arrives(self, event: DeliveryEvent, partition: int) -> None:
        self.broker.produce(event, partition)
        self._wake()


def copied_wrong(seed: int, rules: Any = transactions, copying: Any = copier) -> str:
    """What went wrong in a seed; "": every event is in the target, once."""
    scene = CopyScene(seed, rules, copying)
    try:
        scene.play()
    except Violation as violation:
        return f"seed {seed}: {violation}\n{scene.world.trace()}"
    return ""

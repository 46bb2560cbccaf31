"""One seed, from the first event to the judgement."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from processor.core.due import Rules
from processor.core.report.fields import Oddities
from processor.errors import StopProcessing
from processor.ports import OwedCount, RebalanceListener
from processor.worker.claim import Claim
from processor.worker.cycle import Limits, Ports, Worker
from processor.worker.lease import Lease, Ownership
from tests.simulation.broker import Broker
from tests.simulation.group import Member
from tests.simulation.invariants import Invariants
from tests.simulation.kafka import SimDecoder, SimOutbox, SimSource
from tests.simulation.machine import Machine
from tests.simulation.org import Org
from tests.simulation.store import Disk, SimStore
from tests.simulation.traffic import Traffic
from tests.simulation.weather import GIVE_UP_AFTER_S, LEASE_S, LIMITS, UNKNOWN_AFTER_S
from tests.simulation.world import TRACE_STEPS, Changes, Violation, World
from tests.simulation.writer import SimWriter

LONGEST_DRAIN_S: Final = 3 * UNKNOWN_AFTER_S + GIVE_UP_AFTER_S + 60.0
MAX_STEPS: Final = 60_000
LARGEST_SKEW_MS: Final = 20_000
FIELDS: Final = {"category": "category", "code": "code"}

Build = Callable[[Ports, Rules, Limits, Mapping[str, str]], Worker]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process is made of. A test of the simulation puts a faulty part in."""

    worker: Build = Worker
    source: type[SimSource] = SimSource
    outbox: type[SimOutbox] = SimOutbox
    store: type[SimStore] = SimStore
    writer: type[SimWriter] = SimWriter
    ownership: Callable[[Machine], Ownership] = lambda _: Ownership(LEASE_S)


class SeedOutcome(NamedTuple):
    """Of one seed. `violated`: the invariant, "" if all hold."""

    seed: int
    violated: str
    story: str
    trace: str


class SimMeter:
    """Implements `ports.Meter`. `exact`: no batch is cut after it was decoded."""

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._size = 0

    def events(self, counts: Mapping[tuple[int, str], int]) -> None: ...
    def rejected(self, stage: str, reason: str, count: int) -> None: ...
    def anomalies(self, kind: str, count: int) -> None: ...
    def batch(self, size: int) -> None:
        self._size = size

    def oddities(self, found: Oddities) -> None:
        """Every record is odd (`SimDecoder`)."""
        if self._exact and found.stamps_missing != self._size:
            story = f"{found.stamps_missing} oddities of {self._size} committed records"
            raise Violation("metrics", story)

    def transaction(self, seconds: float, outcome: str) -> None: ...
    def statuses(self, count: int) -> None: ...
    def restored(self, seconds: float, messages: int) -> None: ...
    def unusable(self, reason: str, count: int) -> None: ...
    def settled(self, outcome: str, seconds_since_event: Sequence[float]) -> None: ...
    def expired(self, count: int) -> None: ...
    def gauges(self, owed: OwedCount, states: int, lag: Mapping[int, int]) -> None: ...
    def blocked(self, partitions: int) -> None: ...
    def slowed(self, partitions: int) -> None: ...
    def kafka_answered(self, at_s: float) -> None: ...
    def put_off(self) -> None: ...
    def org_ready(self, ready: bool) -> None: ...


class Program:
    """A process: the worker and its ends of the world."""

    def __init__(self, scene: Scene, machine: Machine, disk: Disk) -> None:
        world, parts = scene.world, scene.parts
        self._machine = machine
        self._invariants = scene.invariants
        self.stopping = False
        self.source = parts.source(machine, scene.broker)
        self.outbox = parts.outbox(machine, scene.broker, self.source)
        claim = Claim("group", "statuses", "events")
        lease = Lease(parts.ownership(machine), machine, claim)
        writer = parts.writer(machine, scene.org, scene.invariants, lease)
        self.store = parts.store(machine, disk)
        self.outbox.store = self.store
        ports = Ports(
            self.source,
            SimDecoder(machine),
            self.outbox,
            self.store,
            writer,
            SimMeter(exact=not (world.weather.garbage or world.weather.poison)),
            machine,
            claim,
            lease,
        )
        self.worker = parts.worker(ports, world.weather.rules(), LIMITS, FIELDS)
        scene.invariants.started(machine, self.source)
        listener: RebalanceListener = self.worker
        self.source.subscribe(listener)

    def member(self) -> Member | None:
        return self.source.member()

    def turn(self) -> None:
        try:
            if self.stopping:
                self.worker.close()
                self._machine.die("told to stop")
            else:
                self.worker.turn()
        except StopProcessing as stop:
            self._invariants.ended(str(stop))
            self.worker.abandon()
            self._machine.die(str(stop))


class Process(Protocol):
    """What a host runs. `stopping`: it is to end at its next turn, cleanly."""

    stopping: bool

    def member(self) -> Member | None: ...
    def turn(self) -> None: ...


class Host:
    """A place where a process runs, and is started again when it has ended."""

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene = scene
        self.name = "ABC"[number]
        self.disk = Disk()
        self.machine: Machine | None = None
        self.program: Process | None = None
        self._starts = 0

    def start(self) -> None:
        scene = self._scene
        if scene.broker.is_down() or scene.at_rest:
            scene.world.after(0.5, self.start)
            return
        if scene.world.chance(scene.world.weather.store_lost):
            self.disk.lose()
        self._starts += 1
        machine = Machine(scene.world, scene.broker.group, self.name, f"{self.name}{self._starts}")
        if scene.world.weather.skewed:
            machine.skew_ms = scene.world.rng.randint(-LARGEST_SKEW_MS, LARGEST_SKEW_MS)
        scene.world.note(machine.name, "starts", "" if self.disk.checkpoints else "without a store")
        machine.on_death = lambda _: scene.world.after(
            scene.world.rng.choice((0.2, 2.0, 10.0)), self.start
        )
        self.machine = machine
        self.program = scene.process(machine, self.disk)
        machine.runner = self.program
        machine.begin()


class Scene:
    """Everything of one run."""

    def __init__(self, world: World, parts: Parts) -> None:
        self.world = world
        self.parts = parts
        self.at_rest = False
        self.invariants = Invariants(self.world)
        self.broker = Broker(self.world, self.invariants)
        self.org = Org(self.world)
        self.invariants.watch(self.broker, self.org)
        self.hosts = [Host(self, number) for number in range(self.world.weather.hosts)]
        self._traffic = Traffic(self.world, self.broker, self.org, self._wake)

    def process(self, machine: Machine, disk: Disk) -> Process:
        """What a host runs, from its beginning."""
        return Program(self, machine, disk)

    def play(self) -> None:
        """Raises Violation."""
        world, weather = self.world, self.world.weather
        self._traffic.prepare()
        for host in self.hosts:
            world.at(world.rng.uniform(0.0, 3.0), host.start)
        self._faults()
        world.run_until(weather.faults_until_s)
        world.calm = True
        self.broker.down_until = 0.0
        world.note("all", "is calm now")
        deadline = world.now + LONGEST_DRAIN_S
        while self._traffic.to_come or self.invariants.unfinished():
            if world.now > deadline or world.steps > MAX_STEPS:
                left = self.invariants.unfinished()
                raise Violation("I2" if "owed" in left else "I1", f"never done: {left}")
            world.run_until(world.now + 1.0)
        self.invariants.at_the_end()

    def _wake(self) -> None:
        for host in self.hosts:
            if host.machine is not None:
                host.machine.wake()

    def _faults(self) -> None:
        weather, group = self.world.weather, self.broker.group
        self._every(weather.shuffle_every_s, group.shuffle)
        self._every(weather.compact_every_s, self.broker.compact)
        self._every(weather.expel_every_s, self._expel)
        self._every(weather.outage_every_s, self._outage)
        self._every(weather.cut_every_s, self._cut)
        self._every(weather.restart_every_s, self._restart)
        self._every(weather.reset_every_s, self._reset)
        self._every(weather.rewrite_every_s, self._rewrite)

    def _every(self, mean_s: float, action: Callable[[], None]) -> None:
        if mean_s <= 0:
            return
        world = self.world

        def again() -> None:
            if not world.calm:
                action()
                world.after(world.rng.expovariate(1 / mean_s), again)

        world.after(world.rng.expovariate(1 / mean_s), again)

    def _expel(self) -> None:
        members = self.broker.group.members()
        if members:
            self.broker.group.expel(self.world.rng.choice(members))

    def _outage(self) -> None:
        seconds = self.world.rng.uniform(0.5, 6.0)
        self.world.note("broker", f"is away for {seconds:.1f} s")
        self.broker.down_until = self.world.now + seconds

    def _cut(self) -> None:
        machine = self.world.rng.choice(self.hosts).machine
        if machine is not None and machine.alive:
            machine.cut(self.world.rng.uniform(1.0, self.world.weather.longest_cut_s))

    def _rewrite(self) -> None:
        self.broker.rewrite(self.world.rng.randrange(self.world.weather.partitions))

    def _reset(self) -> None:
        """With every process stopped, as Kafka asks for."""
        self.at_rest = True
        for host in self.hosts:
            if host.program is not None:
                host.program.stopping = True

        def once_empty() -> None:
            partition = self.world.rng.randrange(self.world.weather.partitions)
            if self.broker.reset_offset(partition) or self.world.calm:
                self.at_rest = False
            else:
                self.world.after(0.5, once_empty)

        once_empty()

    def _restart(self) -> None:
        host = self.world.rng.choice(self.hosts)
        if host.program is not None and host.machine is not None and host.machine.alive:
            host.program.stopping = True
            self.world.note(host.machine.name, "is told to stop")


def run_seed(
    seed: int,
    parts: Parts | None = None,
    weather: Changes | None = None,
    trace_steps: int | None = TRACE_STEPS,
) -> SeedOutcome:
    """Play a seed to its end. `trace_steps` None: keep them all."""
    scene = Scene(World(seed, weather or {}, trace_steps), parts or Parts())
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    violated, story = "", ""
    try:
        scene.play()
    except Violation as violation:
        violated, story = violation.invariant, violation.story
    except Exception as bug:  # noqa: BLE001 - whatever the worker lets out is what we look for
        place = traceback.extract_tb(bug.__traceback__)[-1]
        violated, story = "bug", f"{bug!r} in {place.filename}:{place.lineno}"
    finally:
        logging.disable(before)
    return SeedOutcome(seed, violated, story, scene.world.trace())


def failing(seeds: Sequence[int]) -> list[SeedOutcome]:
    """The seeds among these that break an invariant."""
    outcomes = map(run_seed, seeds)
    return [outcome for outcome in outcomes if outcome.violated]

"""What comes in: lives of messages as the gateway reports them, out of order, twice, and poison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from tests.simulation.broker import Broker, stamp
from tests.simulation.org import Org, same_task
from tests.simulation.weather import Weather
from tests.simulation.world import World

LIVES: Final = (
    (101, 200, 220),
    (101, 200, 211, 220, 221),
    (101, 200, 402),
    (200, 402, 102, 200, 220),
    (200, 402, 102, 211, 401),
    (200, 402, 102),
    (402, 102, 200),
    (200, 402, 102, 402),
    (151, 330, 102, 200),
    (200, 401, 220),
    (200, 220, 401),
    (200, 402, 200, 210),
    (301,),
    (222, 200, 499, 102, 499),
    (101, 199, 213, 212, 211, 210),
)


class Traffic:
    """Brings a seed's messages into the events topic, each at its time."""

    def __init__(self, world: World, broker: Broker, org: Org, wake: Callable[[], None]) -> None:
        self._world, self._broker, self._org, self._wake = world, broker, org, wake
        self._weather: Weather = world.weather
        self._tasks: list[str] = []
        self.to_come = 0

    def prepare(self) -> None:
        for number in range(self._weather.messages):
            self._message(number)
        world, rng = self._world, self._world.rng
        for number in range(self._weather.messages * 2):
            if world.chance(self._weather.poison):
                at = rng.uniform(0.5, self._weather.faults_until_s)
                partition = rng.randrange(self._weather.partitions)
                self._later(at, Rejection("bad_code", str(number)), partition)
        if world.chance(self._weather.garbage):
            self._burst()

    def _burst(self) -> None:
        """A producer that was deployed with a fault, and mended after a while."""
        rng, weather = self._world.rng, self._weather
        began = rng.uniform(0.5, weather.faults_until_s / 2)
        partition = rng.randrange(weather.partitions)
        for number in range(rng.randint(5, 40)):
            at = began + rng.uniform(0.0, 10.0)
            self._later(at, Rejection("undecodable", str(number)), partition)

    def _message(self, number: int) -> None:
        world, rng, weather = self._world, self._world.rng, self._weather
        message_id, partition = f"m{number}", number % weather.partitions
        task = None if world.chance(weather.no_task) else self._task(number)
        life = rng.choice(LIVES)
        began = rng.uniform(0.0, max(weather.faults_until_s - weather.longest_life_s, 1.0))
        at = began
        slow = rng.choice((0.0, 0.3, weather.longest_life_s / len(life)))
        first = True
        for code in life:
            delay = rng.uniform(0.0, weather.disorder_s) if rng.random() < 0.5 else 0.01
            if first and world.chance(weather.very_late):
                delay = weather.retention_s + weather.longest_life_s + 8.0 + rng.uniform(0.0, 5.0)
            first = False
            if task is not None and world.chance(weather.moved_task):
                task = self._task(number + 1_000)
            event = DeliveryEvent(message_id, code, stamp(at), 0, task, None)
            self._later(at + delay, event, partition)
            while world.chance(weather.duplicate):
                self._later(at + delay + rng.uniform(0.0, 10.0), event, partition)
            at += rng.uniform(0.0, slow) if slow else 0.0

    def _task(self, number: int) -> str:
        """A Task of its own, rarely another message's, in either form of its Id."""
        world, rng = self._world, self._world.rng
        if self._tasks and world.chance(self._weather.shared_task):
            task = rng.choice(self._tasks)
            return task if rng.random() < 0.5 else same_task(task)
        task = f"00T{number:012d}EAA"
        self._tasks.append(task)
        if world.chance(self._weather.parked_tasks):
            never = rng.random() < 0.2
            self._org.appears_at[same_task(task)] = 1e9 if never else rng.uniform(5.0, 60.0)
        if world.chance(self._weather.refused_tasks):
            self._org.refuses.add(same_task(task))
        return task

    def _later(self, at: float, meaning: DeliveryEvent | Rejection, partition: int) -> None:
        self.to_come += 1

        def arrive() -> None:
            self.to_come -= 1
            if isinstance(meaning, Rejection):
                self._broker.produce(meaning, partition)
                what = "poison"
            else:
                event = replace(meaning, record_time=self._world.wall_ms())
                self._broker.produce(event, partition)
                what = f"{event.message_id} {event.code}"
            self._world.note("topic", f"p{partition}:{self._broker.ends[partition] - 1}", what)
            self._wake()

        self._world.at(at, arrive)

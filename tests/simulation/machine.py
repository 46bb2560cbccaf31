"""One process on a host: its clock, the points at which it may crash or be stopped, its timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from tests.simulation.group import Group, Member
from tests.simulation.weather import SESSION_S, UNKNOWN_AFTER_S
from tests.simulation.world import MAX_NESTING, START_MS, Crash, World

SHORT_TURN_S: Final = 0.02
STOPS_S: Final = (0.5, 2.0, SESSION_S, 1.5 * SESSION_S, 2.5 * SESSION_S, 1.5 * UNKNOWN_AFTER_S)
FAVOUR: Final = 8.0
AT_EVERY_TURN: Final = 0.1


class Runner(Protocol):
    """What a process does."""

    def turn(self) -> None: ...
    def member(self) -> Member | None: ...


class Machine:
    """Implements `ports.Clock`. `stopped`: as by SIGSTOP, with all its threads. `silent_since`:
    when the broker last heard of it, while it is cut off from it.
    """

    def __init__(self, world: World, group: Group, host: str, name: str) -> None:
        self.world, self._group = world, group
        self.host, self.name = host, name
        self.alive = True
        self.stopped = False
        self.fenced = False
        self.skew_ms = 0
        self.silent_since: float | None = None
        self.runner: Runner | None = None
        self.on_death: Callable[[str], None] = lambda _: None
        self._in_turn = False
        self._waiting: list[Callable[[], None]] = []
        self._rest_s = 0.0
        self._turns = 0

    def now_ms(self) -> int:
        return START_MS + round(self.world.now * 1000) + self.skew_ms

    def monotonic_s(self) -> float:
        return self.world.now

    # -- the loop ----------------------------------------------------------------------------

    def begin(self) -> None:
        self._schedule(SHORT_TURN_S)

    def rest(self, seconds: float) -> None:
        """How long the loop waits after this turn, if nothing comes."""
        self._rest_s = seconds

    def wake(self) -> None:
        """There is something to read."""
        if self.alive and not self._in_turn and not self.stopped and self._rest_s > 0:
            self._rest_s = 0.0
            self._schedule(self.world.rng.uniform(0.0, 0.1))

    def die(self, why: str) -> None:
        """Whatever it has sent goes on without it."""
        if self.alive:
            self.alive = False
            self.world.note(self.name, "dies:", why)
            member = self.runner.member() if self.runner is not None else None
            if member is not None:
                self._group.silence(member)
            self.on_death(why)

    def _schedule(self, delay: float) -> None:
        self._turns += 1
        number = self._turns
        self.world.after(delay, lambda: self._turn(number))

    def _turn(self, number: int) -> None:
        if number != self._turns or not self.alive or self._in_turn:
            return
        if self.stopped:
            self._waiting.append(lambda: self._turn(number))
            return
        self._in_turn = True
        try:
            if self.runner is not None:
                self.runner.turn()
        except Crash as crash:
            self.die(str(crash))
        finally:
            self._in_turn = False
        self._schedule(SHORT_TURN_S + max(self._rest_s, 0.0))

    # -- effects -----------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Done by one of this process's threads: not when it is dead, later when it is stopped."""
        self.world.after(delay, lambda: self._act(action))

    def _act(self, action: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self.stopped:
            self._waiting.append(lambda: self._act(action))
            return
        try:
            action()
        except Crash as crash:
            self.die(str(crash))

    def point(self, where: str) -> None:
        """Between two effects: the process may end here, or be stopped for a while."""
        world, weather = self.world, self.world.weather
        if not self.alive:
            raise Crash(f"killed before {where}")
        if world.chance(weather.crash * _weight(where, weather.crash_at)):
            raise Crash(f"at {where}")
        if world.chance(weather.stall * _weight(where, weather.stall_at)):
            self.stop(where, world.rng.choice(STOPS_S) * world.rng.uniform(0.8, 1.2))

    def stop(self, where: str, seconds: float) -> None:
        """Stopped, all threads; the others go on. Returns when it wakes, perhaps a zombie."""
        if self.stopped or self.world.nesting >= MAX_NESTING:
            return
        member = self.runner.member() if self.runner is not None else None
        self.world.note(self.name, "stops at", where, f"for {seconds:.1f} s")
        self.stopped = True
        if member is not None:
            self._group.silence(member)
        try:
            self.world.run_inside(self.world.now + seconds)
        finally:
            self.stopped = False
        self._revive(member)
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            self.world.after(0.0, action)
        self.world.note(self.name, "wakes at", where)
        if not self.alive:
            raise Crash("killed while it was stopped")

    def cut(self, seconds: float) -> None:
        """Off from the broker, and from nothing else."""
        member = self.runner.member() if self.runner is not None else None
        if member is None or self.silent_since is not None or self.stopped:
            return
        self.world.note(self.name, f"is cut off for {seconds:.1f} s")
        self.silent_since = self.world.now
        self._group.silence(member)

        def heal() -> None:
            self.silent_since = None
            self._revive(member)
            self.world.note(self.name, "is no longer cut off")

        self.world.after(seconds, heal)

    def _revive(self, member: Member | None) -> None:
        if member is not None and self.alive and not self.stopped and self.silent_since is None:
            self._group.revive(member)

    def wait(self, seconds: float, done: Callable[[], bool]) -> None:
        """The main thread waits in a call; the other threads go on."""
        if not done():
            self.world.run_inside(self.world.now + seconds, done)
        if not self.alive:
            raise Crash("killed while it waited")


def _weight(where: str, favourite: str) -> float:
    """Some points are passed at every turn; and a seed may have one favourite."""
    if favourite:
        return FAVOUR if where == favourite else 0.0
    return AT_EVERY_TURN if where in {"poll", "results"} else 1.0

"""Salesforce's side: Tasks, and what becomes of a request.

The server may go on with a request long after the client gave it up, and apply it then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from processor.core.settle import Differs, Park, Reject, Retry, Settled, Verdict
from processor.ports import Owed
from tests.simulation.weather import HTTP_TIMEOUT_S, LONGEST_LANDING_S
from tests.simulation.world import World

Values = dict[str, object]


class Whole(Enum):
    """What is said of a request as a whole. ROWS: each row has its own answer."""

    ROWS = auto()
    LIMIT = auto()
    SESSION = auto()
    DOWN = auto()
    STOP = auto()


@dataclass(slots=True, eq=False)
class Request:
    """Rows on their way. `leased_at`: when the sender made sure that it may send."""

    who: str
    rows: list[Owed]
    verify: bool
    leased_at: float
    flying: bool = True
    recalled: bool = False
    dropped: set[int] = field(default_factory=set)


Answer = Callable[[Whole, list[Verdict]], None]


def same_task(task_id: str) -> str:
    """The form by which Tasks are compared: the case-sensitive 15 characters of an Id."""
    return task_id[:15]


class Org:
    """One org. `history`: all values that a Task has ever held. `refusals`: what it says where it
    refuses a request as a whole.
    """

    refusals: tuple[Whole, ...] = (Whole.LIMIT, Whole.SESSION, Whole.DOWN, Whole.STOP)

    def __init__(self, world: World) -> None:
        self.tasks: dict[str, Values] = {}
        self.history: dict[str, list[Values]] = {}
        self.refuses: set[str] = set()
        self.appears_at: dict[str, float] = {}
        self.landing = 0
        self._world = world

    def receive(self, request: Request, answer: Answer) -> None:
        """Decides a request's fate now; the landing and the answer come later, or never."""
        world, weather = self._world, self._world.weather
        rng = world.rng
        quick = rng.uniform(0.01, 0.3)
        latest = LONGEST_LANDING_S - (world.now - request.leased_at)
        if latest <= 0:
            return  # the connection is gone
        if world.chance(weather.refused_whole):
            what = rng.choice(self.refusals)
            world.after(quick, lambda: answer(what, []))
        elif world.chance(weather.no_answer):
            if not request.verify and rng.random() < 0.7:
                late = rng.uniform(0.0, latest if rng.random() < 0.7 else 0.5)
                self._land_after(min(late, latest), request, None)
        else:
            slow = world.chance(weather.slow)
            delay = rng.uniform(0.5, HTTP_TIMEOUT_S * 0.95) if slow else quick
            self._land_after(min(delay, latest), request, answer)

    def _land_after(self, delay: float, request: Request, answer: Answer | None) -> None:
        self.landing += 1

        def land() -> None:
            self.landing -= 1
            verdicts = [self._row(row, late=answer is None) for row in request.rows]
            if answer is not None:
                self._world.after(0.01, lambda: answer(Whole.ROWS, verdicts))

        self._world.after(delay, land)

    def _row(self, row: Owed, *, late: bool) -> Verdict:
        world = self._world
        task = same_task(row.task_id)
        if row.verify:
            return Settled() if self.tasks.get(task) == row.values else Differs()
        if world.now < self.appears_at.get(task, 0.0):
            return Park(world.rng.uniform(1.0, 3.0), "NOT_FOUND")
        if task in self.refuses:
            return Reject("FIELD_CUSTOM_VALIDATION_EXCEPTION")
        if world.chance(world.weather.row_fault):
            return Retry(world.rng.uniform(0.2, 3.0), "UNABLE_TO_LOCK_ROW")
        self.tasks[task] = row.values
        self.history.setdefault(task, []).append(row.values)
        world.note("org", "lands late" if late else "lands", f"{row.message_id}v{row.version}")
        return Settled()

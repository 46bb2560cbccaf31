"""`ports.Writer`: the simulation's, and the product's on the sandbox org."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from processor.ports import Owed
from processor.sandbox.org.server import Fault, FaultKind, RequestKind, SandboxOrg
from tests.contracts.org_kit import ABSENT, ORG, PATIENCE_S, TASKS, OrgSide, TestLease
from tests.contracts.writer_suite import OrgContract, RowsContract, TakingAwayContract
from tests.salesforce.writer_bench import Bench, until
from tests.salesforce.writer_bench import task_id as id_of
from tests.simulation.group import Group
from tests.simulation.machine import Machine
from tests.simulation.org import Org, Request, Whole, same_task
from tests.simulation.world import World
from tests.simulation.writer import SimWriter

FAULTS: Final = ("no_answer", "slow", "refused_whole")


class Faults:
    """Observes the simulation's writer: counts its requests, and ends a fault after one."""

    def __init__(self, world: World) -> None:
        self.requests = 0
        self._world = world

    def weather_is(self, rates: dict[str, Any]) -> None:
        self._world.weather = replace(self._world.weather, **rates)

    def submitted(self, machine: Machine, rows: Sequence[Owed], held: set[str]) -> None: ...

    def sent(self, machine: Machine, request: Request, flying: Sequence[Request]) -> None:
        self.requests += 1
        self._world.after(0.0, lambda: self.weather_is(dict.fromkeys(FAULTS, 0.0)))

    def quiesced(self, machine: Machine, partitions: Collection[int]) -> None: ...
    def dropped(self, machine: Machine, partitions: Collection[int]) -> None: ...


class SimulatedOrg(OrgSide):
    """The simulation's writer and org. Time passes here only, and in the writer's own waits."""

    def __init__(self) -> None:
        fair: dict[str, Any] = dict.fromkeys((*FAULTS, "row_fault", "crash", "stall"), 0.0)
        self._world = World(1, {**fair, "partitions": 1}, None)
        machine = Machine(self._world, Group(self._world, 1), "A", "A1")
        self._org = Org(self._world)
        self._org.appears_at[same_task(self.task_id(ABSENT))] = float("inf")
        self._faults = Faults(self._world)
        self.lease = TestLease()
        self.writer = SimWriter(machine, self._org, self._faults, self.lease)

    def task_id(self, number: int) -> str:
        return id_of(number)

    def values(self, code: int) -> dict[str, object]:
        return {"category": "Delivery", "code": code}

    def codes_written(self, number: int) -> list[int]:
        held = self._org.history.get(same_task(self.task_id(number)), [])
        return [int(str(values["code"])) for values in held]

    def requests(self) -> int:
        return self._faults.requests

    def refuse(self, number: int) -> None:
        self._org.refuses.add(same_task(self.task_id(number)))

    def lock(self, number: int) -> None:
        self._faults.weather_is({"row_fault": 1.0})

    def unlock(self) -> None:
        self._faults.weather_is({"row_fault": 0.0})

    def _refuse_all(self, what: Whole) -> None:
        self._org.refusals = (what,)
        self._faults.weather_is({"refused_whole": 1.0})

    def limit(self) -> None:
        self._refuse_all(Whole.LIMIT)

    def down(self) -> None:
        self._refuse_all(Whole.DOWN)

    def stop(self) -> None:
        self._refuse_all(Whole.STOP)

    def end_the_session(self, *, slowly: bool = False) -> None:
        self._refuse_all(Whole.SESSION)

    def lose_the_answer(self) -> None:
        self._faults.weather_is({"no_answer": 1.0})

    def slow(self) -> None:
        self._faults.weather_is({"slow": 1.0})

    def let_everything_land(self) -> None:
        self.until(lambda: not self._org.landing)

    def pass_on(self, seconds: float) -> None:
        self._world.run_until(self._world.now + seconds)

    def resume(self) -> None:
        self.until(lambda: self.writer.room(ORG))

    def until(self, condition: Callable[[], object]) -> None:
        limit = self._world.now + PATIENCE_S
        while not condition():
            assert self._world.now < limit, "waited in vain"
            self._world.run_until(self._world.now + 0.1, lambda: bool(condition()))


class Sandbox(OrgSide):
    """The product's writer, over HTTP."""

    def __init__(self, org: SandboxOrg) -> None:
        self._org = org
        org.add_tasks(self.task_id(number) for number in range(TASKS))
        self.lease = TestLease()
        self.bench = Bench(org, lease=self.lease).logged_in()
        self.writer = self.bench.writer

    def task_id(self, number: int) -> str:
        return id_of(number)

    def values(self, code: int) -> dict[str, object]:
        return {"SMS_Status__c": "Delivery", "SMS_Status_Code__c": code}

    def codes_written(self, number: int) -> list[int]:
        return [int(str(code)) for code in self.bench.codes_written(number)]

    def requests(self) -> int:
        return self.bench.requests("collections_update", "composite", "collections_retrieve")

    def refuse(self, number: int) -> None:
        self._org.delete_tasks([self.task_id(number)])

    def lock(self, number: int) -> None:
        self._org.inject(Fault(FaultKind.LOCK, duration_s=600.0, task_id=self.task_id(number)))

    def unlock(self) -> None:
        self._org.clear_faults()

    def limit(self) -> None:
        self._org.inject(Fault(FaultKind.LIMIT))

    def down(self) -> None:
        self._org.inject(Fault(FaultKind.UNAVAILABLE))

    def stop(self) -> None:
        """The secret has been changed."""
        self._org.expire_tokens()
        self._org.inject(Fault(FaultKind.HTML, status=404, request=RequestKind.TOKEN))

    def end_the_session(self, *, slowly: bool = False) -> None:
        self._org.inject(Fault(FaultKind.SESSION))
        if slowly:
            self._org.inject(Fault(FaultKind.SLOW, delay_s=0.5, request=RequestKind.TOKEN))

    def lose_the_answer(self) -> None:
        self._org.inject(Fault(FaultKind.RESET_AFTER))

    def slow(self) -> None:
        self._org.inject(Fault(FaultKind.SLOW, delay_s=0.5))

    def let_everything_land(self) -> None:
        """It was carried out before the answer was lost."""

    def pass_on(self, seconds: float) -> None:
        time.sleep(seconds)  # the real writer's threads live by the real time

    def resume(self) -> None:
        self.bench.clock.skip(100.0)
        self.until(lambda: self.writer.room(ORG))

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, "as the suite wants it")


@pytest.fixture(params=["simulated", "sandbox"])
def side(request: pytest.FixtureRequest) -> Iterator[OrgSide]:
    if request.param == "simulated":
        yield SimulatedOrg()
        return
    with SandboxOrg() as org:
        sandbox = Sandbox(org)
        with sandbox.bench:
            yield sandbox


class TestRows(RowsContract):
    """On each side."""


class TestOrg(OrgContract):
    """On each side."""


class TestTakingAway(TakingAwayContract):
    """On each side."""

"""The demo's org is down for as long as it takes to be noticed, and what goes wrong afterwards."""

from __future__ import annotations

import pytest

from processor.sandbox.demo.outage import (
    HOLD,
    MAX_S,
    MIN_S,
    RECOVERY_MAX_S,
    WAIT,
    OrgDown,
    Outage,
    Phase,
    single_faults,
)
from processor.sandbox.org.faults import Fault, FaultKind, RequestKind

EVENTS = 1_000


class SmallOrg:
    """Remembers what is armed; `met` is the number of requests that were refused."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        self.met = 0

    def inject(self, *faults: Fault) -> None:
        self.armed += faults

    def clear_faults(self) -> None:
        self.armed.clear()

    def stats(self) -> dict[str, object]:
        return {"faults": {"unavailable": self.met} if self.met else {}}


class Scene:
    """An outage over an org, with a clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.org = SmallOrg()
        self.outage = Outage(self.org, EVENTS, lambda: self.now_s)

    def look(self, sent: int, consumed: int, owed: int, rows: int) -> Phase:
        self.outage.look(sent=sent, consumed=consumed, owed=owed, rows=rows)
        return self.outage.phase


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_begins_when_rows_are_written_and_takes_the_logins_along(scene: Scene) -> None:
    assert scene.look(sent=100, consumed=90, owed=50, rows=10) is Phase.UP
    assert scene.look(sent=400, consumed=390, owed=200, rows=0) is Phase.UP
    assert scene.look(sent=400, consumed=390, owed=200, rows=10) is Phase.DOWN
    assert {fault.kind for fault in scene.org.armed} == {FaultKind.UNAVAILABLE}
    assert {fault.request for fault in scene.org.armed} == {None, RequestKind.TOKEN}


@pytest.mark.parametrize(
    ("seconds", "met", "consumed", "owed", "is_over"),
    [
        (MIN_S, 2, 600, 80, True),
        (MIN_S - 0.1, 2, 600, 80, False),
        (MIN_S, 1, 600, 80, False),
        (MIN_S, 2, 400, 80, False),
        (MIN_S, 2, 600, 0, False),
        (MAX_S, 0, 400, 0, True),
    ],
)
def test_it_ends_when_it_was_met_and_rows_are_owed_or_at_last(
    scene: Scene, seconds: float, met: int, consumed: int, owed: int, is_over: bool
) -> None:
    scene.look(sent=400, consumed=400, owed=200, rows=10)
    scene.now_s += seconds
    scene.org.met = met
    phase = scene.look(sent=800, consumed=consumed, owed=owed, rows=10)
    assert phase is (Phase.RECOVERING if is_over else Phase.DOWN)
    if is_over:
        assert scene.org.armed == []
        assert scene.outage.result == OrgDown(seconds, met, consumed - 400, owed)


@pytest.mark.parametrize(("seconds", "rows"), [(0.1, 11), (RECOVERY_MAX_S, 10)])
def test_the_last_reports_wait_until_the_org_takes_rows_again(
    scene: Scene, seconds: float, rows: int
) -> None:
    last = int(EVENTS * HOLD)
    scene.look(sent=400, consumed=400, owed=200, rows=10)
    assert not scene.outage.holds(last - 1)
    assert scene.outage.holds(last)
    scene.now_s += MAX_S
    scene.look(sent=800, consumed=800, owed=300, rows=10)
    assert scene.look(sent=800, consumed=800, owed=300, rows=10) is Phase.RECOVERING
    assert scene.outage.holds(last)
    scene.now_s += seconds
    assert scene.look(sent=800, consumed=800, owed=300, rows=rows) is Phase.OVER
    assert not scene.outage.holds(last)


def test_some_reports_wait_for_the_outage_to_begin(scene: Scene) -> None:
    first = int(EVENTS * WAIT)
    assert not scene.outage.holds(first - 1)
    assert scene.outage.holds(first)
    scene.look(sent=first, consumed=first, owed=200, rows=10)
    assert not scene.outage.holds(first)


@pytest.mark.parametrize("events", [1, 2, 3, 10])
def test_even_the_smallest_demo_sends_enough_to_begin(events: int) -> None:
    org = SmallOrg()
    outage = Outage(org, events, lambda: 0.0)
    sent = next((n for n in range(events) if outage.holds(n)), events)
    outage.look(sent=sent, consumed=sent, owed=1, rows=1)
    assert outage.phase is Phase.DOWN


@pytest.mark.parametrize("seed", range(20))
def test_each_single_fault_comes_after_the_outage(seed: int) -> None:
    places = [place for place, _ in single_faults(seed, EVENTS)]
    assert places == sorted(places)
    assert all(EVENTS * HOLD <= place < EVENTS for place in places)

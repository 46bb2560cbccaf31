"""The writer of a process: a line per Task, a few requests at a time, a lease before each."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from processor.core.settle import Reject, Retry, Stop, Unknown, Verdict
from processor.ports import Lease, Owed, Result
from processor.salesforce.collections import task_id_18
from processor.salesforce.verdicts import MALFORMED_ID
from tests.simulation.machine import Machine
from tests.simulation.org import Org, Request, Whole, same_task
from tests.simulation.weather import HTTP_TIMEOUT_S

ORG: Final = "default"
ROOM: Final = 12
ROWS_PER_REQUEST: Final = 3
REQUESTS: Final = 2


@dataclass(slots=True, eq=False)
class Entry:
    """A row without a result."""

    owed: Owed
    request: Request | None = None
    dropped: bool = False


class Observer(Protocol):
    """Is told what a writer is given, what it sends, and what is taken away from it."""

    def submitted(self, machine: Machine, rows: Sequence[Owed], held: set[str]) -> None: ...
    def sent(self, machine: Machine, request: Request, flying: Sequence[Request]) -> None: ...
    def quiesced(self, machine: Machine, partitions: Collection[int]) -> None: ...
    def dropped(self, machine: Machine, partitions: Collection[int]) -> None: ...


class SimWriter:
    """Implements `ports.Writer`."""

    def __init__(self, machine: Machine, org: Org, observer: Observer, lease: Lease) -> None:
        self._lease = lease
        self._machine, self._org, self._observer = machine, org, observer
        self._world = machine.world
        self._lines: dict[str, deque[Entry]] = {}
        self._results: list[Result] = []
        self._flying: list[Request] = []
        self._paused_until = 0.0
        self._woken = False
        self._closed = False

    def room(self, org: str) -> int:
        if org != ORG or self._is_shut():
            return 0
        return max(0, ROOM - sum(map(len, self._lines.values())))

    def submit(self, rows: Sequence[Owed]) -> None:
        self._observer.submitted(self._machine, rows, self._held())
        for row in rows:
            if task_id_18(row.task_id) is None:
                self._tell(Entry(row), Reject(MALFORMED_ID))
            elif self._is_shut():
                self._tell(Entry(row), self._given_back())
            else:
                self._lines.setdefault(self._line_of(row), deque()).append(Entry(row))
        self._machine.point("submitted")
        if len(self._ready(verify=False)) >= ROWS_PER_REQUEST:
            self._send()
        self._soon(self._world.rng.uniform(0.0, 0.3))

    def results(self) -> list[Result]:
        self._machine.point("results")
        results, self._results = self._results, []
        return results

    def wait(self, timeout_s: float) -> None:
        self._machine.rest(0.0)
        self._machine.wait(timeout_s, lambda: bool(self._results))

    def quiesce(self, partitions: Collection[int], deadline_s: float) -> None:
        self._machine.point("quiesce")
        self._observer.quiesced(self._machine, partitions)
        self._withdraw(partitions)
        self._recall(partitions)
        self._machine.wait(deadline_s, lambda: not self._any_flying(partitions))
        self._machine.point("quiesced")

    def drop(self, partitions: Collection[int]) -> None:
        self._machine.point("drop")
        self._withdraw(partitions, told=False)
        self._recall(partitions)
        for line in self._lines.values():
            for entry in line:
                entry.dropped = entry.dropped or entry.owed.partition in partitions
        self._results = [r for r in self._results if r.partition not in partitions]
        self._observer.dropped(self._machine, partitions)

    def ready(self) -> bool:
        return not self._is_shut()

    def close(self, deadline_s: float) -> None:
        self._closed = True
        self._withdraw()
        self._recall()
        self._machine.wait(deadline_s, lambda: not self._flying)

    # -- details -----------------------------------------------------------------------------

    def _line_of(self, row: Owed) -> str:
        return same_task(row.task_id)

    def _is_shut(self) -> bool:
        return self._closed or self._world.now < self._paused_until

    def _given_back(self) -> Retry:
        wait_s = max(0.0, self._paused_until - self._world.now)
        return Retry(wait_s + 0.2, "NOT_SENT", whole_org=True)

    def _held(self) -> set[str]:
        entries = (entry for line in self._lines.values() for entry in line)
        return {entry.owed.message_id for entry in entries if not entry.dropped}

    def _any_flying(self, partitions: Collection[int]) -> bool:
        return any(row.partition in partitions for r in self._flying for row in r.rows)

    def _recall(self, partitions: Collection[int] | None = None) -> None:
        for request in self._flying:
            if partitions is None or any(row.partition in partitions for row in request.rows):
                request.recalled = True

    def _withdraw(self, partitions: Collection[int] | None = None, *, told: bool = True) -> None:
        """Take back what is not in flight, of these partitions or (None) of all."""
        for task, line in list(self._lines.items()):
            waiting = [entry for entry in line if entry.request is None]
            for entry in waiting:
                if partitions is None or entry.owed.partition in partitions:
                    line.remove(entry)
                    if told:
                        self._tell(entry, self._given_back())
            if not line:
                del self._lines[task]

    def _tell(self, entry: Entry, verdict: Verdict) -> None:
        row = entry.owed
        if not entry.dropped:
            self._results.append(Result(row.message_id, row.partition, row.version, verdict))

    def _ready(self, *, verify: bool) -> list[Entry]:
        heads = (line[0] for line in self._lines.values())
        return [e for e in heads if e.request is None and e.owed.verify is verify]

    def _soon(self, delay: float) -> None:
        if not self._woken:
            self._woken = True
            self._machine.after(delay, self._linger_over)

    def _linger_over(self) -> None:
        self._woken = False
        self._send()

    def _send(self) -> None:
        for verify in (False, True):
            while len(self._flying) < REQUESTS:
                entries = self._ready(verify=verify)[:ROWS_PER_REQUEST]
                if not entries:
                    break
                self._go(entries, verify=verify)

    def _go(self, entries: list[Entry], *, verify: bool) -> None:
        machine = self._machine
        rows = [entry.owed for entry in entries]
        request = Request(machine.name, rows, verify, self._world.now)
        self._flying.append(request)
        for entry in entries:
            entry.request = request
        if not self._lease.holds({row.partition for row in rows}):
            self._world.note(machine.name, "has no lease")
            self._back(request, [Retry(0.3, "NOT_SENT", whole_org=True)] * len(rows))
            return
        self._observer.sent(machine, request, self._flying)
        machine.point("leased")
        self._world.note(
            machine.name, "reads" if verify else "sends", *(f"{_row(row)}" for row in rows)
        )
        self._org.receive(request, lambda whole, verdicts: self._answer(request, whole, verdicts))
        machine.after(HTTP_TIMEOUT_S, lambda: self._time_out(request))

    def _answer(self, request: Request, whole: Whole, verdicts: list[Verdict]) -> None:
        self._machine.after(0.0, lambda: self._answered(request, whole, verdicts))

    def _time_out(self, request: Request) -> None:
        verdict = Retry(0.5, "TIMEOUT") if request.verify else Unknown("timeout")
        self._back(request, [verdict] * len(request.rows))

    def _answered(self, request: Request, whole: Whole, verdicts: list[Verdict]) -> None:
        if not request.flying:
            return
        match whole:
            case Whole.ROWS:
                self._back(request, verdicts)
            case Whole.SESSION if not request.recalled and not self._is_shut():
                self._again(request)
            case Whole.SESSION:
                self._back(request, [self._given_back()] * len(request.rows))
            case _:
                self._pause()
                refused = Stop("a field") if whole is Whole.STOP else self._given_back()
                self._back(request, [refused] * len(request.rows))

    def _pause(self) -> None:
        """Nothing is held meanwhile, so that newer versions can take the place of older ones."""
        self._paused_until = self._world.now + self._world.rng.uniform(0.5, 3.0)
        self._withdraw()

    def _again(self, request: Request) -> None:
        """Logged in anew: the same rows go out once more."""
        entries = [e for line in self._lines.values() for e in line if e.request is request]
        request.flying = False
        self._flying.remove(request)
        for entry in entries:
            entry.request = None
        for entry in entries:
            if entry.dropped:
                self._leave(entry)
        self._send()

    def _back(self, request: Request, verdicts: Sequence[Verdict]) -> None:
        if not request.flying:
            return
        request.flying = False
        self._flying.remove(request)
        by_id = dict(zip((id(row) for row in request.rows), verdicts, strict=True))
        for line in list(self._lines.values()):
            for entry in list(line):
                if entry.request is request:
                    self._tell(entry, by_id[id(entry.owed)])
                    self._leave(entry)
        self._soon(self._world.rng.uniform(0.0, 0.1))

    def _leave(self, entry: Entry) -> None:
        task = self._line_of(entry.owed)
        line = self._lines[task]
        line.remove(entry)
        if not line:
            del self._lines[task]


def _row(row: Owed) -> str:
    return f"{row.message_id}v{row.version}={row.values['code']}"

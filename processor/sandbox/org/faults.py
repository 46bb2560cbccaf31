"""What can be told to go wrong in the sandbox org, for which requests, and how often.

| kind | effect |
|---|---|
| lock | rows fail with UNABLE_TO_LOCK_ROW, the others of the request are written |
| row_error | rows fail with `code` |
| trigger | a trigger throws for the Task `task_id`: all rows of its operation fail with `code` |
| session | 401 INVALID_SESSION_ID |
| limit | 403 REQUEST_LIMIT_EXCEEDED |
| unavailable | 503 (or `status`) SERVER_UNAVAILABLE, JSON |
| html | 503 (or `status`) with a page of HTML, as an edge server answers |
| slow | the request is looked at `delay_s` after it came, and answered as usual |
| reset_before | the connection is reset, nothing is applied |
| reset_after | the request is applied, then the connection is reset |
| truncated | the request is applied, half of the answer is sent, the connection is closed |
| late | admitted now, applied `delay_s` later, answered then; with `drop` reset at once |

`lock`, `row_error` and `trigger` act on rows, the others on whole HTTP requests; `session`, `limit`
and `unavailable` also act on one subrequest of a composite (`request="subrequest"`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Final, Self

from processor.sandbox.org.schema import RowError, task_id_18


class FaultKind(StrEnum):
    """See the table above."""

    LOCK = "lock"
    ROW_ERROR = "row_error"
    TRIGGER = "trigger"
    SESSION = "session"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"
    HTML = "html"
    SLOW = "slow"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    TRUNCATED = "truncated"
    LATE = "late"


class RequestKind(StrEnum):
    """What a request asks for; the filter of a fault, and a key of the statistics."""

    TOKEN = "token"
    DESCRIBE = "describe"
    COLLECTIONS_UPDATE = "collections_update"
    COLLECTIONS_RETRIEVE = "collections_retrieve"
    COMPOSITE = "composite"
    SUBREQUEST = "subrequest"
    QUERY = "query"
    LIMITS = "limits"
    ROW_UPDATE = "row_update"
    ROW_READ = "row_read"
    OTHER = "other"


ROW_KINDS: Final = frozenset({FaultKind.LOCK, FaultKind.ROW_ERROR, FaultKind.TRIGGER})
_SUBREQUEST_KINDS: Final = frozenset({FaultKind.SESSION, FaultKind.LIMIT, FaultKind.UNAVAILABLE})
_DELAYED_KINDS: Final = frozenset({FaultKind.SLOW, FaultKind.LATE})
_LOCK_ERROR: Final = RowError(
    "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. How often: at most `count` requests, for `duration_s`, with `probability`.

    Each of the three limits the fault, and they combine. With none of them it happens once.
    `probability` is per request, and per row for the faults on rows; `seed` makes it repeatable.
    Without a `request` filter it takes any request but a login; `task_id` restricts it to
    requests that name the Task, or to its row.
    """

    kind: FaultKind
    count: int | None = None
    duration_s: float | None = None
    probability: float | None = None
    seed: int = 0
    request: RequestKind | None = None
    task_id: str | None = None
    code: str = "UNKNOWN_EXCEPTION"
    message: str = "injected"
    status: int = 503
    delay_s: float = 0.0
    drop: bool = False

    def __post_init__(self) -> None:
        """Refuse what could never act, rather than let a test pass for nothing."""
        if self.count is not None and self.count < 1:
            raise ValueError("count must be at least 1")
        if self.probability is not None and not 0.0 < self.probability <= 1.0:
            raise ValueError("probability must be above 0 and at most 1")
        if self.delay_s < 0.0 or (self.duration_s is not None and self.duration_s <= 0.0):
            raise ValueError("delay_s must not be negative, duration_s must be positive")
        if self.kind in _DELAYED_KINDS and self.delay_s == 0.0:
            raise ValueError(f"{self.kind} needs delay_s")
        if self.request is RequestKind.SUBREQUEST and self.kind not in _SUBREQUEST_KINDS:
            raise ValueError(f"{self.kind} does not act on one subrequest")
        if self.kind is FaultKind.TRIGGER and self.task_id is None:
            raise ValueError(f"{self.kind} needs task_id")
        if self.task_id is not None:
            task_id_18(self.task_id)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Build a fault from the control endpoint's JSON; raise ValueError with the reason."""
        known = {field.name for field in fields(cls)}
        if unknown := data.keys() - known:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        if "kind" not in data:
            raise ValueError("kind is missing")
        values: dict[str, object] = {}
        for name, value in data.items():
            values[name] = _parse(name, value)
        return cls(**values)  # type: ignore[arg-type]  # each was parsed by its name above

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` takes."""
        return asdict(self)


def _parse(name: str, value: object) -> object:
    if value is None:
        return None
    if name == "kind":
        return FaultKind(str(value))
    if name == "request":
        return RequestKind(str(value))
    wanted: type | tuple[type, ...] = str
    if name in {"count", "seed", "status"}:
        wanted = int
    elif name in {"duration_s", "probability", "delay_s"}:
        wanted = (int, float)
    elif name == "drop":
        wanted = bool
    if not isinstance(value, wanted) or (isinstance(value, bool) and name != "drop"):
        raise ValueError(f"{name} has a value of a wrong type: {value!r}")
    return value


class _Armed:
    """A fault that is waiting to happen."""

    def __init__(self, fault: Fault, now_s: float) -> None:
        self.fault = fault
        once = fault.count is None and fault.duration_s is None and fault.probability is None
        self.left = 1 if once else fault.count
        self.until_s = None if fault.duration_s is None else now_s + fault.duration_s
        self.task_id = None if fault.task_id is None else task_id_18(fault.task_id)
        self._random = random.Random(fault.seed)

    def over(self, now_s: float) -> bool:
        expired = self.until_s is not None and now_s >= self.until_s
        return expired or (self.left is not None and self.left <= 0)

    def drawn(self) -> bool:
        probability = self.fault.probability
        return probability is None or self._random.random() < probability


class RowFaults:
    """The faults on rows that one HTTP request meets. Used under the table's lock only."""

    def __init__(self, plan: FaultPlan, armed: list[_Armed]) -> None:
        self._plan = plan
        self._armed = armed
        self._hit: list[_Armed] = []

    def error_for(self, task_id: str) -> RowError | None:
        """Return the error that this row gets, or None."""
        for armed in self._armed:
            if armed.fault.kind is FaultKind.TRIGGER:
                continue
            if armed.task_id not in (None, task_id) or not armed.drawn():
                continue
            if armed not in self._hit:
                self._hit.append(armed)
            fault = armed.fault
            return (
                _LOCK_ERROR if fault.kind is FaultKind.LOCK else RowError(fault.code, fault.message)
            )
        return None

    def exception_for(self, task_ids: Collection[str]) -> RowError | None:
        """Return what a trigger throws for an operation on these Tasks, or None.

        "If a trigger ever throws an unhandled exception, all records are marked with an error and
        no further processing takes place" (Apex Developer Guide, "Bulk DML Exception Handling").
        """
        for armed in self._armed:
            if armed.fault.kind is FaultKind.TRIGGER and armed.task_id in task_ids:
                self._hit.append(armed)
                return RowError(armed.fault.code, armed.fault.message)
        return None

    def done(self) -> None:
        """Count the request against every fault that has hit a row of it."""
        self._plan.spend(self._hit)


class FaultPlan:
    """All faults that are waiting, in the order in which they were injected. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._happened: dict[str, int] = {}

    def add(self, fault: Fault) -> None:
        """Arm a fault from now on."""
        with self._lock:
            self._armed.append(_Armed(fault, time.monotonic()))

    def clear(self) -> None:
        """Disarm everything. Requests that are already late or slow stay so."""
        with self._lock:
            self._armed.clear()

    def waiting(self) -> list[dict[str, object]]:
        """Return the faults that can still happen, with the count that is left."""
        with self._lock:
            self._drop_over()
            return [armed.fault.to_json() | {"left": armed.left} for armed in self._armed]

    def happened(self) -> dict[str, int]:
        """Return how many requests each kind has hit."""
        with self._lock:
            return dict(self._happened)

    def take(self, kind: RequestKind, text: Callable[[], str]) -> Fault | None:
        """Return the first fault for this request; `text` gives what may hold Ids of Tasks."""
        if not self._armed:  # the usual case, without a lock
            return None
        with self._lock:
            self._drop_over()
            for armed in self._armed:
                if self._matches(armed, kind, text) and armed.drawn():
                    self._count(armed)
                    return armed.fault
        return None

    def rows(self, kinds: tuple[RequestKind, ...]) -> RowFaults | None:
        """Return the faults on rows for a request of these kinds (a composite has two)."""
        if not self._armed:
            return None
        with self._lock:
            self._drop_over()
            met = [
                armed
                for armed in self._armed
                if armed.fault.kind in ROW_KINDS and armed.fault.request in (None, *kinds)
            ]
        return RowFaults(self, met) if met else None

    def spend(self, hit: list[_Armed]) -> None:
        """Count one request against these faults."""
        with self._lock:
            for armed in hit:
                self._count(armed)

    def _count(self, armed: _Armed) -> None:
        if armed.left is not None:
            armed.left -= 1
        name = armed.fault.kind.value
        self._happened[name] = self._happened.get(name, 0) + 1

    def _drop_over(self) -> None:
        now_s = time.monotonic()
        self._armed = [armed for armed in self._armed if not armed.over(now_s)]

    @staticmethod
    def _matches(armed: _Armed, kind: RequestKind, text: Callable[[], str]) -> bool:
        fault = armed.fault
        if fault.kind in ROW_KINDS:
            return False
        if fault.request is None and kind in (RequestKind.TOKEN, RequestKind.SUBREQUEST):
            return False
        if fault.request not in (None, kind):
            return False
        # The 15-character form is a prefix of the other, so one search finds both.
        return armed.task_id is None or armed.task_id[:15] in text()

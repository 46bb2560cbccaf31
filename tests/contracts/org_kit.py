"""A writer and its org as the contract suite sees them: the simulation's, or the product's writer
with the sandbox org over HTTP.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Final

from processor.core.settle import Verdict
from processor.ports import Owed, Result, Writer

ORG: Final = "default"
PATIENCE_S: Final = 60.0
TASKS: Final = 10
ABSENT: Final = 99  # there is no such Task


class TestLease:
    """Held for every partition but those that are `refused`."""

    __test__ = False

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.asked: list[Collection[int]] = []
        self._lock = threading.Lock()

    def holds(self, partitions: Collection[int]) -> bool:
        with self._lock:
            self.asked.append(partitions)
        return not self.refused.intersection(partitions)


class OrgSide(ABC):
    """Ten Tasks, and a writer that is logged in. A fault is for the next request alone."""

    writer: Writer
    lease: TestLease

    @abstractmethod
    def task_id(self, number: int) -> str: ...

    @abstractmethod
    def values(self, code: int) -> dict[str, object]: ...

    def owed(
        self,
        number: int,
        code: int = 220,
        *,
        version: int = 1,
        partition: int = 0,
        verify: bool = False,
    ) -> Owed:
        """A row of the nth message, which is for the nth Task."""
        task_id, values = self.task_id(number), self.values(code)
        return Owed(f"m{number}", partition, version, ORG, task_id, values, verify)

    @abstractmethod
    def codes_written(self, number: int) -> list[int]:
        """The codes that the nth Task was given, in order."""

    @abstractmethod
    def requests(self) -> int:
        """How many requests with rows have come to the org."""

    # -- faults ------------------------------------------------------------------------------

    @abstractmethod
    def refuse(self, number: int) -> None:
        """The nth Task is refused for good."""

    @abstractmethod
    def lock(self, number: int) -> None:
        """The nth Task is locked until `unlock`."""

    @abstractmethod
    def unlock(self) -> None: ...

    @abstractmethod
    def limit(self) -> None:
        """Too many requests."""

    @abstractmethod
    def down(self) -> None: ...

    @abstractmethod
    def stop(self) -> None:
        """Nothing goes until an admin has changed something."""

    @abstractmethod
    def end_the_session(self, *, slowly: bool = False) -> None: ...

    @abstractmethod
    def lose_the_answer(self) -> None: ...

    @abstractmethod
    def slow(self) -> None:
        """The next answer takes a while, but comes in time."""

    @abstractmethod
    def let_everything_land(self) -> None:
        """What a request without an answer may still do, is done."""

    # -- time --------------------------------------------------------------------------------

    @abstractmethod
    def pass_on(self, seconds: float) -> None: ...

    @abstractmethod
    def resume(self) -> None:
        """The pause of the org is over."""

    @abstractmethod
    def until(self, condition: Callable[[], object]) -> None: ...

    def collect(self, count: int) -> list[Result]:
        """The next results, exactly so many, and then no more."""
        results: list[Result] = []

        def enough() -> bool:
            results.extend(self.writer.results())
            return len(results) >= count

        self.until(enough)
        self.pass_on(0.02)
        results.extend(self.writer.results())
        assert len(results) == count
        return results

    def write(self, rows: Sequence[Owed]) -> list[Result]:
        self.writer.submit(rows)
        return self.collect(len(rows))

    def write_one(self, row: Owed) -> Verdict:
        (result,) = self.write([row])
        return result.verdict

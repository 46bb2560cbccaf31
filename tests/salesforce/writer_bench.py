"""A Salesforce writer on a sandbox org, for its contract tests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Self

from processor.core.settle import Verdict
from processor.ports import Lease, Owed, Result
from processor.salesforce.client import Client, Login
from processor.salesforce.writer import SalesforceWriter, WriterSettings
from processor.sandbox.org.server import OrgSettings, SandboxOrg, id_18
from tests.support.parts import WRITING, login
from tests.support.patience import Patience, patient

SETTINGS = OrgSettings()
PATIENCE_S = 60.0


def task_id(number: int) -> str:
    """The 18-character Id of the nth Task."""
    return id_18(f"00T8d{number:010d}")


def owed(
    number: int, code: int = 220, *, version: int = 1, partition: int = 0, verify: bool = False
) -> Owed:
    """A row of the nth message, which is for the nth Task."""
    values: dict[str, object] = {"SMS_Status__c": "Delivery", "SMS_Status_Code__c": code}
    return Owed(f"m{number}", partition, version, "default", task_id(number), values, verify)


def login_to(org: SandboxOrg, timeout_s: float = 5.0, secret: str | None = None) -> Login:
    return login(
        consumer_key=SETTINGS.consumer_key,
        consumer_secret=secret or SETTINGS.consumer_secret,
        endpoint_url=org.url,
        request_timeout_s=(patient(2.0), patient(timeout_s)),
    )


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to become true; fail when it does not."""
    limit = Patience(PATIENCE_S)
    while not condition():
        assert not limit.is_over(), f"still not so: {what}"
        time.sleep(0.005)


class SkippingClock:
    """The machine's time, and more where a test can't wait for a long pause to pass."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds

    def now_ms(self) -> int:
        return round((time.time() + self._skipped_s) * 1000)

    def monotonic_s(self) -> float:
        return time.monotonic() + self._skipped_s


class Tally:
    """A RequestMeter that remembers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.rows_by_result: Counter[str] = Counter()
        self.logins: Counter[str] = Counter()
        self.usage: tuple[int, int] | None = None
        self.pauses: list[float] = []

    def request(self, kind: str, result: str, seconds: float) -> None:
        assert seconds >= 0.0
        with self._lock:
            self.requests[kind, result] += 1

    def rows(self, result: str, count: int) -> None:
        with self._lock:
            self.rows_by_result[result] += count

    def api_usage(self, used: int, limit: int) -> None:
        self.usage = (used, limit)

    def paused(self, until_s: float) -> None:
        self.pauses.append(until_s)

    def login(self, result: str) -> None:
        with self._lock:
            self.logins[result] += 1


class Bench:
    """One org, one writer, and what came back."""

    def __init__(
        self,
        org: SandboxOrg,
        *,
        timeout_s: float = 5.0,
        secret: str | None = None,
        settings: WriterSettings | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.org = org
        self.clock = SkippingClock()
        self.meter = Tally()
        self.is_owner = True
        self.client = Client(login_to(org, timeout_s, secret), self.meter)
        self.writer = SalesforceWriter(
            "default",
            self.client,
            self.clock,
            lease or self,
            settings or WRITING,
            self.meter,
            Random(1),
        )

    def holds(self, partitions: Collection[int]) -> bool:
        """The lease, unless it is another's."""
        return self.is_owner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close(5.0)

    def logged_in(self) -> Self:
        until(self.writer.ready, "logged in")
        return self

    def collect(self, count: int) -> list[Result]:
        """The next results, exactly so many."""
        results: list[Result] = []
        limit = Patience(PATIENCE_S)
        while len(results) < count:
            assert not limit.is_over(), f"{len(results)} of {count} results"
            self.writer.wait(0.5)
            results += self.writer.results()
        assert len(results) == count
        return results

    def write(self, rows: Sequence[Owed]) -> dict[tuple[str, int], Verdict]:
        """Submit rows and wait for all of their results."""
        self.writer.submit(rows)
        results = self.collect(len(rows))
        assert {r.message_id for r in results} == {row.message_id for row in rows}
        return {(r.message_id, r.version): r.verdict for r in results}

    def write_one(self, row: Owed) -> Verdict:
        (verdict,) = self.write([row]).values()
        return verdict

    def requests(self, *kinds: str) -> int:
        """HTTP requests of these kinds that came to the org."""
        counted = self.org.stats()["requests"]
        assert isinstance(counted, dict)
        return sum(counted.get(kind, 0) for kind in kinds)

    def codes_written(self, number: int) -> list[object]:
        """The codes that the nth Task was given, in order."""
        return [
            write.fields["SMS_Status_Code__c"]
            for write in self.org.writes()
            if write.task_id == task_id(number)
        ]


def kinds(verdicts: Iterable[Verdict]) -> Counter[str]:
    return Counter(type(verdict).__name__ for verdict in verdicts)

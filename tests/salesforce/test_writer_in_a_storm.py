"""The Salesforce writer while everything goes wrong at once: seeded, with the laws it must keep."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

import pytest

from processor.core.settle import Differs, Settled, Unknown
from processor.ports import Result
from processor.salesforce.writer import WriterSettings
from processor.sandbox.org.server import Fault, FaultKind, RequestKind, SandboxOrg
from tests.salesforce.writer_bench import Bench, owed, task_id, until

TASKS = 400
ROUNDS = 25

FAULTS = [
    Fault(FaultKind.LOCK, count=5, probability=0.2),
    Fault(FaultKind.ROW_ERROR, count=3, probability=0.1, code="CANNOT_EXECUTE_FLOW_TRIGGER"),
    Fault(FaultKind.SESSION),
    Fault(FaultKind.LIMIT),
    Fault(FaultKind.UNAVAILABLE),
    Fault(FaultKind.UNAVAILABLE, request=RequestKind.SUBREQUEST),
    Fault(FaultKind.HTML, status=502),
    Fault(FaultKind.RESET_BEFORE),
    Fault(FaultKind.RESET_AFTER),
    Fault(FaultKind.TRUNCATED),
    Fault(FaultKind.SLOW, delay_s=0.05, count=3),
    Fault(FaultKind.HTML, request=RequestKind.TOKEN),
]


class Storm:
    """Messages with a growing version, handed in again until they are settled."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.random = Random(seed)
        self.versions = dict.fromkeys(range(TASKS), 0)
        self.settled = dict.fromkeys(range(TASKS), 0)
        self.doubtful: set[int] = set()
        self.submitted: Counter[tuple[int, int]] = Counter()
        self.came: Counter[tuple[int, int]] = Counter()

    def round(self) -> None:
        """Some new versions; then everything that is owed goes to the writer."""
        for number in self.random.sample(range(TASKS), TASKS // 4):
            self.versions[number] += 1
        self.submit()
        if self.random.random() < 0.2:
            self.bench.writer.quiesce([self.random.randrange(4)], 5.0)
        self.bench.writer.wait(0.05)
        self.take(self.bench.writer.results())

    def submit(self) -> None:
        rows = []
        for number, version in self.versions.items():
            is_held = self.submitted[number, version] > self.came[number, version]
            if (version != self.settled[number] or number in self.doubtful) and not is_held:
                verify = number in self.doubtful and version == self.settled[number]
                # The code tells the version, so that the org's log shows the order.
                row = owed(number, version, version=version, partition=number % 4, verify=verify)
                rows.append(row)
        if not self.bench.writer.room("default"):
            self.bench.clock.skip(30.0)
            return
        self.submitted.update((int(row.message_id[1:]), row.version) for row in rows)
        self.bench.writer.submit(rows)

    def take(self, results: list[Result]) -> None:
        for result in results:
            number = int(result.message_id[1:])
            self.came[number, result.version] += 1
            match result.verdict:
                case Settled():
                    self.settled[number] = max(self.settled[number], result.version)
                case Unknown():
                    self.doubtful.add(number)
                case Differs():
                    self.settled[number] = 0
                case _:
                    continue
            if isinstance(result.verdict, Settled) and self.settled[number] == result.version:
                self.doubtful.discard(number)

    def owed(self) -> bool:
        """Whether anything is still to do, after another try."""
        self.submit()
        self.bench.writer.wait(0.05)
        self.take(self.bench.writer.results())
        held = self.submitted != self.came
        return held or bool(self.doubtful) or self.versions != self.settled


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_row_has_one_result_and_no_task_goes_backwards(seed: int) -> None:
    settings = WriterSettings(window_rows=1_000, linger_s=0.01, requests_in_flight=3)
    with SandboxOrg() as org, Bench(org, timeout_s=2.0, settings=settings) as bench:
        org.add_tasks(task_id(number) for number in range(TASKS))
        storm = Storm(bench.logged_in(), seed)
        for _ in range(ROUNDS):
            if storm.random.random() < 0.6:
                org.inject(storm.random.choice(FAULTS))
            storm.round()
        org.clear_faults()
        until(lambda: not storm.owed(), f"everything is written (seed {seed})")

        assert storm.came == storm.submitted, "one result for each row that was submitted"
        for number, version in storm.versions.items():
            if version:
                assert org.task(task_id(number))["SMS_Status_Code__c"] == str(version)
        by_task: dict[str, list[int]] = defaultdict(list)
        for write in org.writes():
            by_task[write.task_id].append(int(str(write.fields["SMS_Status_Code__c"])))
        assert all(codes == sorted(codes) for codes in by_task.values())
        in_requests = Counter((w.request_id, w.task_id) for w in org.writes())
        assert set(in_requests.values()) == {1}, "never a Task twice in one request"

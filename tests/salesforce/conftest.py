"""An org with Tasks, and a writer that is logged in to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.sandbox.org.server import SandboxOrg
from tests.salesforce.writer_bench import Bench, task_id

TASKS_THERE = 4_000


@pytest.fixture
def org() -> Iterator[SandboxOrg]:
    with SandboxOrg() as org:
        org.add_tasks(task_id(number) for number in range(TASKS_THERE))
        yield org


@pytest.fixture
def bench(org: SandboxOrg) -> Iterator[Bench]:
    with Bench(org) as bench:
        yield bench.logged_in()

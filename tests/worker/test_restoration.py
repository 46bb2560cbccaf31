"""What a restore does with a status that the store on disk can't hold: the rest of the partition
must not wait for it, because it is durable and would come back at every start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processor.core.events import MessageState
from processor.core.mark import Identity, Mark
from processor.ports import CommittedOffset, Position, Restored
from processor.store.store import LmdbStore
from processor.worker.claim import Claim
from processor.worker.restoration import Restoration
from tests.contracts.test_store import StoppedClock
from tests.support.log_lines import line_of
from tests.support.rules import RULES
from tests.support.states import NOW, state

Changes = list[tuple[str, MessageState | None]]
GOOD = [state("first"), state("last")]


OURS = Identity("group", "", "statuses", "events")


class Log:
    """A status partition that has been read. Implements what a restoration needs of its ports."""

    def __init__(self, *steps: Changes) -> None:
        self.steps = list(steps)
        self.restores = 0

    def committed(self, partition: int, timeout_s: float) -> CommittedOffset:
        return CommittedOffset(7, Mark(OURS, 7, NOW).text())

    def restore(self, partition: int, checkpoint: int | None) -> Log:
        self.restores += 1
        return self

    def step(self, max_records: int, timeout_s: float) -> Restored:
        done = len(self.steps) == 1
        return Restored(self.steps.pop(0), 9, 9, done)

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    store = LmdbStore(tmp_path, "topic", clock=StoppedClock(NOW), delete_retention_ms=1_000)
    yield store
    store.close(0)


def restored_from(store: LmdbStore, log: Log) -> Restoration:
    ports: Any = log
    restoration = Restoration(
        0, ports, ports, store, StoppedClock(NOW), RULES, Claim("group", "statuses", "events")
    )
    for _ in range(1 + len(log.steps)):
        if (position := restoration.step()) is not None:
            assert position == Position(7, NOW)
            return restoration
    raise AssertionError("it never came to running")


UNFIT: dict[str, tuple[str, MessageState, str]] = {
    "a Task id of 70,000 characters": (
        "m", replace(state("m"), task_id="t" * 70_000), "too_large"),
    "an account id of as many": ("m", state("m", account="a" * 70_000), "too_large"),
    "half a character": ("m", replace(state("m"), task_id="\ud83d"), "too_large"),
    "a version beyond all bounds": ("m", state("m", version=1 << 40), "too_large"),
    "a settled code that is none": ("m", replace(state("m"), settled_code=-1), "too_large"),
    "a message id beyond LMDB's keys": ("m" * 512, state("m" * 512), "bad_key"),
    "no message id": ("", state(""), "bad_key"),
}  # fmt: skip


@pytest.mark.parametrize("settled", [False, True], ids=["owed", "settled"])
@pytest.mark.parametrize(("key", "unfit", "reason"), UNFIT.values(), ids=UNFIT.keys())
def test_a_status_that_the_store_cannot_hold_is_skipped_and_the_others_are_not(
    store: LmdbStore,
    caplog: pytest.LogCaptureFixture,
    key: str,
    unfit: MessageState,
    reason: str,
    settled: bool,
) -> None:
    if settled:
        unfit = replace(unfit, settled_version=unfit.version)
    assert store.unfit(key, unfit) == reason
    log = Log([("first", GOOD[0]), (key, unfit), ("last", GOOD[1])], [])
    with caplog.at_level(logging.ERROR):
        restoration = restored_from(store, log)
    assert restoration.unusable == {reason: 1}
    assert log.restores == 1
    assert sorted(row.message_id for row in store.owed_rows(0)) == ["first", "last"]
    [record] = caplog.records
    assert f"partition=0 reason={reason} message_id=" in line_of(record)
    assert len(line_of(record)) < 400


def test_a_status_that_was_erased_since_is_no_error(
    store: LmdbStore, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("m", "m" * 512):
        unfit = replace(state(key), task_id="t" * 70_000)
        changes: Changes = [("first", GOOD[0]), (key, unfit), (key, None), ("last", GOOD[1])]
        assert not restored_from(store, Log(changes)).unusable
    assert store.count() == 2
    assert not caplog.records

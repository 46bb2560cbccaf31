"""Restoring a partition's state from the status topic, while its last owner may just have died.

Each test here fails when the line of the design that it stands for is not kept.
"""

from __future__ import annotations

import time

import pytest

from processor.errors import StopProcessing, StoreFailed
from processor.ports import Restored
from tests.integration.kit import (
    SHORT_POLL_MS,
    Kafka,
    Members,
    Topics,
    encode,
    state,
    writes,
)
from tests.support.patience import Patience

pytestmark = pytest.mark.kafka


def ids(restored: Restored) -> list[str]:
    return [message_id for message_id, _ in restored.changes]


def test_input_is_held_back_and_polling_goes_on_while_a_restore_waits(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)
    cluster.produce(names.events, 0, [b"event"] * 10)
    cluster.open_transaction(names.status, 0, ["never"], timeout_ms=6_000)
    at_once, in_time = Patience(5), Patience(30)
    owner = member(names, max_poll_ms=SHORT_POLL_MS).join(0)
    owner.committed(0)
    assert not at_once.is_over(), "the assignment itself must not wait for anything"
    restore = owner.outbox.restore(0, None)
    steps = 0
    while not restore.step(100, 0.1).done:
        steps += 1
        assert owner.source.poll(100, 0.05) == {}
        assert not in_time.is_over()
    assert steps > 10
    assert owner.listener.calls == [("assigned", [0])]
    assert len(owner.start().read(10)) == 10


def test_a_checkpoint_below_the_log_fails_the_store(
    cluster: Kafka, topics: Topics, member: Members
) -> None:
    names = topics(1)._replace(status=f"status-deletable-{time.time_ns()}")
    cluster.create(names.status, 1, {"cleanup.policy": "compact,delete"})
    owner = member(names).join(0)
    owner.outbox.commit(writes(0, "a", "b", "c"))
    owner.outbox.commit(writes(0, "d"))
    cluster.delete_before(names.status, 0, 2)
    with pytest.raises(StoreFailed, match="no longer holds offset 1"):
        owner.restore(0, 1)
    assert ids(owner.restore(0)) == ["c", "d"]


@pytest.mark.parametrize("key", [b"m", None])
def test_a_status_record_that_cannot_be_read_stops_the_process(
    cluster: Kafka, topics: Topics, member: Members, key: bytes | None
) -> None:
    names = topics(1)._replace(status=f"status-foreign-{time.time_ns()}")
    cluster.create(names.status, 1)
    cluster.produce(names.status, 0, [b"{}" if key else encode(state("m"))], key)
    with pytest.raises(StopProcessing, match=r"\[0\] at 0"):
        member(names).join(0).restore(0)

"""An owner that is stopped for longer than its session, and goes on when its partitions moved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from processor.sandbox.org.server import Fault, FaultKind, RequestKind
from processor.sandbox.servers.kafka import KafkaServer
from processor.sandbox.traffic.generator import Mix
from processor.sandbox.traffic.oracle import expected
from tests.chaos.order import AsSent, longest_backwards_s
from tests.integration.ledger import Ledger
from tests.integration.stage import PARTITIONS, SESSION_TIMEOUT_S, Stage, past_traffic, wait
from tests.support.patience import patient

# The zombie's request is applied when the new owner has written a newer status, and before the
# new owner looks again at what it took over.
LATE_S = 14.0  # after the end of the session
UNKNOWN_AFTER_S = 18.0
TAKEOVER_S = 20.0  # the same

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.chaos,
]


@pytest.fixture
def stage(mortal_kafka: KafkaServer, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(mortal_kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


class Offsets:
    """The committed offsets of a group, as they were each time one looked."""

    def __init__(self, stage: Stage) -> None:
        self.went_back: list[tuple[int, int, int]] = []
        self._known: dict[int, int] = {}
        self._places = [TopicPartition(stage.names.events, number) for number in range(PARTITIONS)]
        self._consumer = Consumer(
            {"bootstrap.servers": stage.bootstrap_servers, "group.id": stage.names.group_id}
        )

    def look(self) -> None:
        for place in self._consumer.committed(self._places, 30):
            known = self._known.get(place.partition, place.offset)
            if place.offset < known:
                self.went_back.append((place.partition, known, place.offset))
            self._known[place.partition] = place.offset

    @contextmanager
    def watched(self) -> Iterator[Offsets]:
        """All the time, from a thread of its own."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.1):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
            self._consumer.close()


def test_a_zombie_commits_nothing_and_its_late_write_is_repaired_by_the_new_owner(
    stage: Stage,
) -> None:
    """It is frozen with fetched events in its hands and a request on its way to the org, and
    wakes when all of it belongs to another.
    """
    traffic = past_traffic(800, 5, Mix(poisoned=0.02))
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    late_s, unknown_after_s = SESSION_TIMEOUT_S + patient(LATE_S), patient(UNKNOWN_AFTER_S)
    times = {"SALESFORCE__UNKNOWN_AFTER_S": str(unknown_after_s)}
    (zombie,) = stage.start_ready("zombie", **times)
    with Offsets(stage).watched() as offsets:
        feed = stage.feed(traffic, per_s=wanted.events / (SESSION_TIMEOUT_S + 12))
        wait("it is at work", lambda: zombie.events() > 200)
        update = RequestKind.COLLECTIONS_UPDATE
        stage.org.inject(Fault(FaultKind.LATE, delay_s=late_s, request=update))
        wait("a request is with the org", lambda: stage.org.stats()["late_pending"] == 1)
        zombie.freeze()

        heir = stage.start("heir", **times)
        wait("the heir is at work", lambda: heir.events() > 200)
        assert stage.org.stats()["late_pending"] == 1
        zombie.thaw()
        feed.join()
        ledger = Ledger(stage)
        ledger.wait_until_settled()
        ledger.check_all_right(traffic, org=AsSent(stage.org))

    assert offsets.went_back == []
    assert "partition lost" in zombie.log() or "fenced" in zombie.log()
    assert zombie.exit_code() is None
    bound_s = unknown_after_s + SESSION_TIMEOUT_S + patient(TAKEOVER_S)
    assert 0 < longest_backwards_s(stage.org.writes()) < bound_s

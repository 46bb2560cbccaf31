"""A member that is cut off from Kafka, and not from Salesforce."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from processor.sandbox.org.server import Fault, FaultKind, RequestKind
from processor.sandbox.servers.kafka import KafkaServer, Listener
from processor.sandbox.traffic.oracle import expected
from tests.chaos.proxy import Proxy
from tests.integration.kit import real
from tests.integration.ledger import Ledger
from tests.integration.servers import BROKER_SETTINGS
from tests.integration.stage import SESSION_TIMEOUT_S, Stage, past_traffic, wait
from tests.support.patience import patient

SEED = 20_261_124
LEASE_S = {"classic": SESSION_TIMEOUT_S / 2, "consumer": 45 / 2}
IN_FLIGHT_S = 4.0  # a request that was sent in the lease's last moment, and its answer
WATCHED_S = 6.0
LOCKED = Fault(FaultKind.LOCK, duration_s=600, probability=1.0)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.chaos,
]


@pytest.fixture
def way() -> Iterator[Proxy]:
    with closing(Proxy()) as way:
        yield way


@pytest.fixture
def stage(way: Proxy, tmp_path: Path) -> Iterator[Stage]:
    with real(
        lambda: KafkaServer(BROKER_SETTINGS, listeners={"PROXIED": Listener(proxy_port=way.port)})
    ) as server:
        way.open(server.port("PROXIED"))
        stage = Stage(server.bootstrap_servers, tmp_path)
        yield stage
        stage.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_that_does_not_hear_of_its_group_sends_nothing_more(
    stage: Stage, way: Proxy, protocol: str
) -> None:
    """Librdkafka's client of the new protocol never gives its partitions up by itself. This one
    went on to send what it had, and, ten minutes on, to put it in the place of newer values.
    """
    traffic = past_traffic(200, SEED)
    stage.org.add_tasks(expected(traffic).tasks)
    times = {"KAFKA__GROUP_PROTOCOL": protocol, "KAFKA__BOOTSTRAP_SERVERS": way.address}
    (lonely,) = stage.start_ready("lonely", **times)
    stage.org.inject(LOCKED)
    stage.feed(traffic).join()
    before = updates(stage)
    wait("it tries to write", lambda: updates(stage) > before + 3)

    way.cut()
    time.sleep(LEASE_S[protocol] + patient(IN_FLIGHT_S))  # after that its silence is to begin
    sent = updates(stage)
    time.sleep(WATCHED_S)  # nothing comes: only time can show that
    assert updates(stage) == sent
    assert lonely.owed() > 0, "it has what it would send, a locked row every few seconds"
    assert lonely.exit_code() is None

    stage.org.clear_faults()
    stage.start("heir", KAFKA__GROUP_PROTOCOL=protocol)
    ledger = Ledger(stage)
    ledger.wait_until_settled()
    way.heal()
    wait("it is back", lambda: lonely.ready() and lonely.partitions())
    assert [process.stop() for process in stage.processes] == [0, 0]
    ledger.check_all_right(traffic)


def updates(stage: Stage) -> int:
    """Requests to write that the org has met."""
    requests = stage.org.stats()["requests"]
    assert isinstance(requests, dict)
    kinds = (RequestKind.COLLECTIONS_UPDATE, RequestKind.COMPOSITE)
    return sum(int(requests.get(kind, 0)) for kind in kinds)

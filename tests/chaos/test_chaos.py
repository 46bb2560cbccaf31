"""Everything goes wrong, on a real Kafka, and everything comes out right.

CHAOS_SECONDS says for how long (default: one round), CHAOS_SEED which schedule and traffic
(default: always the same, so that a failure speaks of the code), CHAOS_RUNS how many seeds from
there on (default: one). A test's name has its seed. Odd seeds have the group protocol of KIP-848.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from processor.sandbox.servers.kafka import KafkaServer
from processor.sandbox.traffic.generator import Mix
from processor.sandbox.traffic.oracle import expected
from tests.chaos.order import AsSent, longest_backwards_s
from tests.chaos.performance import Performance
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import ROUND_S, schedule
from tests.integration.ledger import Ledger
from tests.integration.stage import SESSION_TIMEOUT_S, UNKNOWN_AFTER_S, Stage, past_traffic
from tests.support.patience import patient

SECONDS = float(os.environ.get("CHAOS_SECONDS", ROUND_S))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SEEDS = range(SEED, SEED + int(os.environ.get("CHAOS_RUNS", "1")))

PROTOCOLS = ("classic", "consumer")
MESSAGES_PER_S = 30  # some 115 reports
SETTLE_TIMEOUT_S = 120.0
# A write that lands late is found UNKNOWN_AFTER_S after its owner gave it up; where the owner is
# gone or frozen, after its partition has another. That takes a session; one more where the broker
# is killed meanwhile, whose coordinator counts anew; and one for a member that was stopped while
# it joined, for which the group waits. The rest is for a broker that starts, and for pauses.
BACKWARDS_MOST_S = UNKNOWN_AFTER_S + 3 * SESSION_TIMEOUT_S
PAUSES_MOST_S = 30.0

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.chaos,
    pytest.mark.timeout(SECONDS + 300),
]


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed {seed}") for seed in SEEDS])
def test_after_everything_went_wrong_every_task_is_right_and_every_event_accounted_for(
    mortal_kafka: KafkaServer, ways: dict[str, Proxy], tmp_path: Path, seed: int
) -> None:
    deeds = schedule(seed, SECONDS)
    traffic = past_traffic(round(MESSAGES_PER_S * SECONDS), seed, Mix(poisoned=0.01))
    wanted = expected(traffic)
    stage = Stage(mortal_kafka.bootstrap_servers, tmp_path)
    play = Performance(stage, mortal_kafka, ways, KAFKA__GROUP_PROTOCOL=PROTOCOLS[seed % 2])
    sys.stdout.write(f"CHAOS_SEED={seed} CHAOS_SECONDS={SECONDS:g}\n")
    try:
        stage.org.add_tasks(wanted.tasks)
        play.run(deeds, stage.feed(traffic, per_s=wanted.events / SECONDS))
        play.tell("everything is done and sent")
        ledger = Ledger(stage)
        ledger.wait_until_settled(SETTLE_TIMEOUT_S)
        play.tell(f"settled; the org has met {stage.org.stats()['faults']}")
        ledger.check_all_right(traffic, org=AsSent(stage.org))
        longest_s = longest_backwards_s(stage.org.writes())
        play.tell(f"a Task showed something older for {longest_s:.1f} s at the longest")
        assert longest_s <= BACKWARDS_MOST_S + patient(PAUSES_MOST_S)
    finally:
        for way in ways.values():
            way.heal()
        sys.stdout.write("\n".join([*play.done, ""]))
        stage.close()

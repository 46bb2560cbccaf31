"""What a seed has in store: sizes, rates of faults, and times.

Times are those of the design, scaled down, so that a short run meets every meeting of them: the
session timeout, the transaction's, the server's longest work on a lost request, the read-back.
Each seed has some kinds of faults and not others: a rare story needs room to unfold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from processor.core.breaker import BreakerRules
from processor.core.due import Rules
from processor.worker.cycle import Limits

SESSION_S: Final = 6.0
HEARTBEAT_S: Final = 1.0
HTTP_TIMEOUT_S: Final = 4.0
LONGEST_LANDING_S: Final = 30.0  # the server may work so long on a request that we gave up on
UNKNOWN_AFTER_S: Final = 36.0
GIVE_UP_AFTER_S: Final = 90.0
SHORT_RETENTION_S: Final = 40.0
DELETE_RETENTION_S: Final = 12.0  # after it, compaction drops tombstones

PLACES: Final = (
    "asking",
    "restore",
    "store",
    "stored",
    "before commit",
    "some written",
    "statuses written",
    "offsets added",
    "committed",
    "submitted",
    "leased",
    "quiesce",
    "quiesced",
    "drop",
)
"""Points between effects, by the names that the fakes give them."""

LEASE_S: Final = SESSION_S / 2
LIMITS: Final = Limits(
    batch_records=6,
    catch_up_records=12,
    poll_timeout_s=2.0,
    settle_interval_s=1.0,
    settle_rows=6,
    revoke_deadline_s=8.0,
    expire_records=3,
    expire_interval_s=1.0,
    gauge_interval_s=30.0,
    breaker=BreakerRules(events_per_minute=60, window_events=12, min_rejected=4, probe_events=4),
)


@dataclass(frozen=True, slots=True)
class Weather:
    """Rates are per occasion, save `*_every_s`: the mean time between, 0 for never.

    `tells_itself`: a member that hears nothing from the group for a session gives its partitions
    up (librdkafka's client of the classic protocol); else it waits to be told (that of KIP-848).
    """

    hosts: int
    partitions: int
    messages: int
    faults_until_s: float
    # the process
    crash: float
    crash_at: str
    stall: float
    stall_at: str
    store_fails: float
    store_lost: float
    skewed: bool
    restart_every_s: float
    reset_every_s: float
    rewrite_every_s: float
    # Kafka
    shuffle_every_s: float
    expel_every_s: float
    outage_every_s: float
    cut_every_s: float
    longest_cut_s: float
    tells_itself: bool
    compact_every_s: float
    abort: float
    unknown_commit: float
    dead_letter_fails: float
    late_markers: float
    registry_down: float
    transaction_timeout_s: float
    stable_ids: bool
    # Salesforce
    no_answer: float
    slow: float
    refused_whole: float
    row_fault: float
    parked_tasks: float
    refused_tasks: float
    # the traffic
    poison: float
    garbage: float
    no_task: float
    shared_task: float
    moved_task: float
    duplicate: float
    disorder_s: float
    longest_life_s: float
    very_late: float
    retention_s: float

    def rules(self) -> Rules:
        return Rules(
            failure_hold_ms=1_500,
            intermediate_hold_ms=1_000,
            unknown_after_ms=round(UNKNOWN_AFTER_S * 1000),
            give_up_after_ms=round(GIVE_UP_AFTER_S * 1000),
            retention_ms=round(self.retention_s * 1000),
        )


def weather_of(rng: Random) -> Weather:
    """A seed's weather."""

    def rate(*some: float, often: float = 0.5) -> float:
        return rng.choice(some) if rng.random() < often else 0.0

    expiring = rng.random() < 0.25
    weather = Weather(
        hosts=rng.choice((1, 2, 2, 3)),
        partitions=rng.choice((1, 2, 2, 3)),
        messages=rng.randint(4, 24),
        faults_until_s=rng.choice((90.0, 130.0)) if expiring else rng.choice((20.0, 45.0, 90.0)),
        crash=rate(0.002, 0.01, 0.03),
        crash_at=rng.choice(PLACES) if rng.random() < 0.4 else "",
        stall=rate(0.002, 0.01, often=0.4),
        stall_at=rng.choice(PLACES) if rng.random() < 0.4 else "",
        store_fails=rate(0.01, 0.05, often=0.3),
        store_lost=rate(0.3, 1.0),
        skewed=rng.random() < 0.3,
        restart_every_s=rate(8.0, 20.0, often=0.3),
        shuffle_every_s=rate(3.0, 8.0, 20.0),
        expel_every_s=rate(6.0, 15.0, often=0.3),
        outage_every_s=rate(10.0, 30.0, often=0.2),
        cut_every_s=rate(8.0, 20.0, often=0.3),
        longest_cut_s=rng.choice((2 * SESSION_S, 1.5 * UNKNOWN_AFTER_S)),
        tells_itself=rng.random() < 0.5,
        compact_every_s=rate(2.0, 6.0),
        abort=rate(0.05, 0.2),
        unknown_commit=rate(0.03, 0.1, often=0.4),
        dead_letter_fails=rate(0.1, 0.4, often=0.4),
        late_markers=rate(0.1, 0.5),
        registry_down=rate(0.03, often=0.2),
        transaction_timeout_s=rng.choice((3.0, 3.0, 10.0)),
        stable_ids=rng.random() < 0.5,
        no_answer=rate(0.05, 0.2, 0.4),
        slow=rate(0.1, 0.4),
        refused_whole=rate(0.05, 0.2, often=0.4),
        row_fault=rate(0.05, 0.2, often=0.4),
        parked_tasks=rate(0.2, often=0.3),
        refused_tasks=rate(0.2, often=0.3),
        poison=rate(0.05, 0.2),
        no_task=rate(0.1, often=0.3),
        shared_task=rate(0.3, often=0.2),
        moved_task=rate(0.1, often=0.15),
        duplicate=rate(0.1, 0.3),
        disorder_s=rng.choice((0.0, 1.0, 8.0)),
        longest_life_s=12.0 if expiring else rng.choice((12.0, 40.0)),
        very_late=rate(0.1, 0.3) if expiring else 0.0,
        retention_s=SHORT_RETENTION_S if expiring else 604_800.0,
        reset_every_s=0.0,
        rewrite_every_s=0.0,
        garbage=0.0,
    )
    # Drawn last: the seeds of before keep their weather.
    if rng.random() < 0.2:
        weather = replace(weather, reset_every_s=20.0)
    # What compaction has removed, or a tombstone hides, an old record behind it brings back.
    if rng.random() < 0.1 and not expiring:
        weather = replace(weather, rewrite_every_s=5.0, compact_every_s=0.0)
    return replace(weather, garbage=rate(1.0, often=0.2))

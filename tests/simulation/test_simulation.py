"""The worker and the core against simulated brokers, orgs and disks that fail, by seed.

`make sim SEEDS=20000` plays the first 20,000 seeds; `make sim SEED=17` plays one and prints all
of its steps. A seed decides everything, so it replays exactly.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import pytest

from tests.simulation.run import SeedOutcome, failing, run_seed

SEEDS: Final = int(os.environ.get("SIM_SEEDS") or 300)
SEED: Final = os.environ.get("SIM_SEED") or ""
CHUNK: Final = 25
SECONDS: Final = 300 + SEEDS // 5


@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(bool(SEED), reason="one seed is replayed")
def test_every_seed_keeps_the_invariants() -> None:
    chunks = [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        broken = [outcome for found in pool.map(failing, chunks) for outcome in found]
    if broken:
        others = " ".join(str(outcome.seed) for outcome in broken[1:20])
        pytest.fail(f"{_story(broken[0])}\n\n{len(broken)} of {SEEDS} fail; others: {others}")


@pytest.mark.skipif(not SEED, reason="for SIM_SEED")
def test_a_seed_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_seed(int(SEED or 0), trace_steps=None)
    with capsys.disabled():
        os.write(1, f"\n{outcome.trace}\n".encode())
    assert not outcome.violated, f"{outcome.violated}: {outcome.story}"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_replays_exactly(seed: int) -> None:
    first = run_seed(seed, trace_steps=None)
    assert first.trace.count("\n") > 50
    assert run_seed(seed, trace_steps=None) == first


def _story(outcome: SeedOutcome) -> str:
    return (
        f"seed {outcome.seed} breaks {outcome.violated}: {outcome.story}\n{outcome.trace}\n"
        f"replay it with all its steps: make sim SEED={outcome.seed}"
    )

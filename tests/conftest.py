"""For every test: limits that fit the machine."""

from __future__ import annotations

import faulthandler
import os
import re
from collections import Counter
from typing import Any

import hypothesis
import pytest

from tests.support.patience import patient

# How long an example takes says more of the machine than of the code. What CI finds, it finds
# again; elsewhere each run tries something else, and prints how to repeat it.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
hypothesis.settings.load_profile("any machine")


pytest_plugins = ["tests.integration.servers"]

HANGS_AFTER_S = 60.0  # a test that its time-out could not end: it is in a call that does not return
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_stderr] = os.dup(2)  # as it is while no test's output is captured


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Any:
    """Time-outs are for what hangs, and given for an idle machine. One is an exception in the main
    thread, which a call into a C library may never see: then the process ends, and tells where.
    """
    timeout_s = patient(settings.timeout)
    hangs_after_s = timeout_s + patient(HANGS_AFTER_S)
    stderr = item.config.stash[_stderr]
    faulthandler.dump_traceback_later(hangs_after_s, exit=True, file=stderr)
    plugin = item.config.pluginmanager.get_plugin("timeout")
    assert plugin is not None
    return plugin.pytest_timeout_set_timer(item, settings._replace(timeout=timeout_s))


def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    faulthandler.cancel_dump_traceback_later()


SIDES = re.compile(r"tests/contracts/.*\[(simulated|memory|kafka|sandbox|lmdb|registry)\b")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many contracts each side has kept: the fakes of the simulation, and the real parts."""
    kept = Counter(
        side[1]
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and (side := SIDES.search(report.nodeid))
    )
    if kept:
        counts = ", ".join(f"{side} {count}" for side, count in sorted(kept.items()))
        terminalreporter.write_line(f"contracts kept: {counts}")

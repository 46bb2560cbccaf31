"""For every test: limits that fit the machine."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest

from tests.patience import patient

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


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Any:
    """Time-outs are for what hangs, and given for an idle machine."""
    plugin = item.config.pluginmanager.get_plugin("timeout")
    assert plugin is not None
    return plugin.pytest_timeout_set_timer(
        item, settings._replace(timeout=patient(settings.timeout))
    )

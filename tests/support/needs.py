"""What a test needs and not every machine has."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def do_without(reason: str) -> NoReturn:
    """Skips with the reason; in CI, which has everything, fails with it."""
    if os.environ.get("CI_REQUIRE_REAL_KAFKA") == "1":
        pytest.fail(f"CI_REQUIRE_REAL_KAFKA is set, and {reason}")
    pytest.skip(reason)

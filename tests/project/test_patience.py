"""Limits grow with the machine's slowness and load, pytest's and Hypothesis' as well."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.project.test_deploy import ROOT, run
from tests.support.patience import MOST, Patience, factor, scale


@pytest.mark.parametrize(
    ("slowness", "share", "load", "expected"),
    [
        (1.0, 1.0, 0.0, 1.0),
        (0.3, 1.0, 0.5, 1.0),  # quick and idle: no less than what was asked for
        (2.0, 1.0, 0.5, 2.0),  # a slow machine
        (1.0, 1.0, 4.0, 4.0),  # four want each CPU
        (1.0, 0.25, 0.1, 4.0),  # a quota of CPU time, which is no load
        (1.0, 0.25, 4.0, 4.0),  # both tell the same
        (2.0, 1.0, 4.0, 8.0),
        (2.0, 1.0, 15.0, MOST),
    ],
)
def test_limits_grow_with_slowness_and_load(
    slowness: float, share: float, load: float, expected: float
) -> None:
    assert scale(slowness, share, load) == expected


def test_patience_ends_and_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Patience(0.01)
    while not limit.is_over():
        time.sleep(0.01)
    monkeypatch.setenv("TEST_PATIENCE", "1000")
    assert factor() == 1000.0
    assert not limit.is_over()


SLOW_TESTS = """
import time
import pytest
from hypothesis import given, strategies as st

@pytest.mark.timeout(0.5)
def test_that_takes_longer_than_it_may_on_an_idle_machine():
    time.sleep(1)

@given(st.integers())
def test_whose_examples_vary_and_are_slow(number):
    time.sleep(0.3 if number == 0 else 0.001)

@given(st.lists(st.integers()).map(lambda each: time.sleep(0.15) or each))
@__import__("hypothesis").settings(max_examples=12)
def test_whose_data_takes_long_to_make(numbers):
    pass
"""


def test_slow_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "test_slow.py"
    file.write_text(SLOW_TESTS)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", "pyproject.toml")
    environment = {**os.environ, "TEST_PATIENCE": "100"}
    done = run(*command, "-p", "no:cacheprovider", file, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


HANGING_TEST = """
import ctypes
import pytest

@pytest.mark.timeout(0.5)
def test_that_is_in_a_call_which_does_not_return():
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
"""


def test_a_test_that_no_time_out_can_end_ends_the_process_and_tells_where(tmp_path: Path) -> None:
    file = tmp_path / "test_hanging.py"
    file.write_text(HANGING_TEST)
    plugin = tmp_path / "impatient.py"
    plugin.write_text("from tests import conftest\nconftest.HANGS_AFTER_S = 0.5\n")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", "pyproject.toml")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run(
        *command, "-p", "impatient", "-p", "no:cacheprovider", file, cwd=ROOT, env=environment
    )
    assert done.returncode == 1
    assert "test_that_is_in_a_call_which_does_not_return" in done.stderr

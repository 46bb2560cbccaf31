"""Whoever starts the tests is told what they take, and what will be skipped."""

from __future__ import annotations

import os
import re

import pytest

from tests.project.test_deploy import ROOT, run
from tests.support.forecast import ALL_MINUTES, PLAIN_MINUTES, QUICK_MINUTES, forecast

EVERYTHING = frozenset(["java", "mvn", "go", "promtool"])


@pytest.mark.parametrize(
    ("missing", "minutes", "skipped"),
    [
        ("", ALL_MINUTES, []),
        ("java", PLAIN_MINUTES, ["java; Java 17"]),
        ("java mvn", PLAIN_MINUTES, ["java, mvn; Java 17"]),
        ("go", ALL_MINUTES, ["go"]),
        ("mvn promtool", PLAIN_MINUTES, ["mvn; Java 17", "promtool"]),
    ],
)
def test_it_tells_minutes_and_what_is_skipped_for_want_of_which_tool(
    missing: str, minutes: int, skipped: list[str]
) -> None:
    first, *others = forecast((EVERYTHING - set(missing.split())).__contains__, 1.0)
    assert first == f"the tests: about {minutes} min here ({minutes} min on two idle cores)"
    assert len(others) == len(skipped)
    assert all(tools in line for line, tools in zip(others, skipped, strict=True))


def test_it_tells_of_a_slow_or_busy_machine_and_of_what_is_to_be_fetched() -> None:
    first, fetching = forecast(EVERYTHING.__contains__, 4.0, fetched=False)
    assert f"about {2 * ALL_MINUTES} min here, which is 4 times as slow or busy" in first
    assert "Maven fetches Kafka" in fetching


def test_the_quick_form_needs_no_java_and_says_so() -> None:
    (first, left_out) = forecast({"go", "promtool"}.__contains__, 1.0, quick=True)
    assert f"about {QUICK_MINUTES} min here" in first
    assert "left out: whatever starts a real Kafka" in left_out


def make(*arguments: str) -> str:
    """What it prints, as if these tests were not started by it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = run("make", *arguments, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["test", "test-quick"])
def test_make_tells_it_first_and_shows_progress(target: str) -> None:
    telling, testing = make("--dry-run", target).strip().splitlines()[-2:]
    assert "tests.support.forecast" in telling
    assert not re.search(r"\s-q\b", testing), "quiet hides how many tests there are"
    assert ("not kafka and not registry" in testing) == (target == "test-quick")


def test_every_target_is_in_the_list_that_make_prints() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = make("help")
    assert [target for target in phony.split() if f"make {target} " not in shown] == []

"""The alerts of docs/operations.md: each has its section, fires when it should, and only then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from processor.runtime.metrics import describe_metrics
from tests.project.test_docs import OPERATIONS, ROOT, boxes
from tests.support.needs import do_without
from tests.tidy import parse, python_files, texts

PARTS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
SERIES = re.compile(r"sms_processor_\w+")


def sections() -> dict[str, str]:
    """Heading -> text, of what the document has under "Alerts"."""
    text = OPERATIONS.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    parts = [section.partition("\n") for section in text.split("\n### ")[1:]]
    return {heading: body for heading, _, body in parts}


def recommended() -> dict[str, dict[str, Any]]:
    """Name -> rule, of those in the document."""
    rules = [yaml.safe_load(box) for box in boxes(OPERATIONS, "yaml")]
    return {rule["alert"]: rule for rule in rules}


def shipped() -> Iterator[str]:
    """The names of the alerts in deploy/."""
    for path in (ROOT / "deploy").rglob("*.y*ml"):
        for group in (yaml.safe_load(path.read_text()) or {}).get("groups", []):
            yield from (rule["alert"] for rule in group["rules"] if "alert" in rule)


def test_every_alert_has_its_section() -> None:
    assert list(recommended()) == list(sections())
    assert set(shipped()) <= set(sections())


@pytest.mark.parametrize("alert", recommended())
def test_a_section_says_what_it_means_and_what_to_do(alert: str) -> None:
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", sections()[alert], re.MULTILINE) == PARTS


def test_every_metric_that_is_named_exists() -> None:
    known = {info.name for info in describe_metrics()}
    known |= {f"{info.name}_count" for info in describe_metrics() if info.type == "histogram"}
    assert set(SERIES.findall(OPERATIONS.read_text())) - {"sms_processor_"} <= known
    assert [name for name, rule in recommended().items() if not SERIES.search(rule["expr"])] == []


def test_every_log_line_that_is_quoted_exists() -> None:
    quoted = re.findall(r"\bline\s`([^`]+)`", OPERATIONS.read_text())
    written = {text for path in python_files("processor") for text in texts(parse(path))}
    assert len(quoted) > len(recommended())
    assert [line for line in quoted if not any(text.startswith(line) for text in written)] == []


def promtool(rules: list[dict[str, Any]], story: dict[str, Any], folder: Path) -> None:
    """Runs a unit test of rules."""
    if not shutil.which("promtool"):
        do_without("promtool is not on this machine (Debian: prometheus)")
    groups = {"groups": [{"name": "of docs/operations.md", "rules": rules}]}
    (folder / "rules.yml").write_text(json.dumps(groups))
    (folder / "test.json").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [story]}))
    command = ["promtool", "test", "rules", "test.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


A_MINUTE = "0+60x60"  # of a counter: one a second
FIRES = [
    ("StoreBlocked", {"store_blocked_partitions": "0x9 1x50"}),
    ("KafkaUnreachable", {"kafka_last_answer_timestamp_seconds": "0+60x30 1800x30"}),
    ("SalesforceNotReady", {"salesforce_ready": "1x9 0x50"}),
    ("SalesforceNotReady", {"salesforce_ready": "1x9 0 0 0 1 0 0 0 1 0 0 0 1" + " 0" * 40}),
    (
        "RowsNotWritten",
        {
            "rows_owed": "5000x60",
            "rows_in_doubt": "0x60",
            "event_to_salesforce_seconds_count": A_MINUTE,
        },
    ),
    ("ConsumerLagging", {"consumer_lag_records": "5000x60", "events_total": A_MINUTE}),
    ("ConsumerLagging", {"consumer_lag_records": "5000x60", "events_total": "0x60"}),
    ("DeadLetters", {"dead_letters_total": "0x35 1x25"}),
    ("BreakerOpen", {"breaker_open_partitions": "0x9 1x50"}),
]
SILENT = [
    ("StoreBlocked", {"store_blocked_partitions": "0x60"}),
    ("KafkaUnreachable", {"kafka_last_answer_timestamp_seconds": A_MINUTE}),
    ("SalesforceNotReady", {"salesforce_ready": "1x35 0 0 1x20"}),
    (
        "RowsNotWritten",  # what is owed waits to be read back
        {
            "rows_owed": "5000x60",
            "rows_in_doubt": "5000x60",
            "event_to_salesforce_seconds_count": "0x60",
        },
    ),
    (
        "RowsNotWritten",  # twelve seconds' worth of much traffic
        {
            "rows_owed": "12000x60",
            "rows_in_doubt": "0x60",
            "event_to_salesforce_seconds_count": "0+60000x60",
        },
    ),
    (
        "RowsNotWritten",  # a few rows are locked while there is no traffic
        {
            "rows_owed": "7x60",
            "rows_in_doubt": "0x60",
            "event_to_salesforce_seconds_count": "0x60",
        },
    ),
    ("ConsumerLagging", {"consumer_lag_records": "5000x60", "events_total": "0+60000x60"}),
    ("ConsumerLagging", {"events_total": "0x60"}),
    ("DeadLetters", {"dead_letters_total": "1x60"}),
    ("BreakerOpen", {"breaker_open_partitions": "1x9 0x50"}),
]


@pytest.mark.parametrize(
    ("alert", "series", "fires"),
    [*((*row, True) for row in FIRES), *((*row, False) for row in SILENT)],
)
def test_an_alert_fires_when_it_should(
    alert: str, series: dict[str, str], *, fires: bool, tmp_path: Path
) -> None:
    expected = {
        "alertname": alert,
        "eval_time": "40m",
        "exp_alerts": [{"exp_labels": {}}] if fires else [],
    }
    told = [{"series": f"sms_processor_{name}", "values": text} for name, text in series.items()]
    story = {"interval": "1m", "input_series": told, "alert_rule_test": [expected]}
    promtool([recommended()[alert]], story, tmp_path)


def test_every_alert_is_shown_to_fire_and_to_stay_silent() -> None:
    assert {alert for alert, _ in FIRES} == {alert for alert, _ in SILENT} == set(recommended())

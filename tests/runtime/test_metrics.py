"""Metrics: bounded, accepted by Prometheus's own linter, and counting what they say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from processor.core.reasons import REASONS
from processor.core.report.fields import Oddities
from processor.ports import Meter, OwedCount
from processor.runtime.metrics import Metrics, describe_metrics
from processor.salesforce.meter import RequestMeter
from tests.project.test_alerts import promtool, recommended
from tests.support.needs import do_without

STAMPS = ("unusable", "missing", "future", "record")
KEYS = ("not_message_id", "other_partition")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    codes = ["UNABLE_TO_LOCK_ROW", "ENTITY_IS_DELETED"]
    return Metrics(registry, version="1.2.3", form="compiled", salesforce_codes=codes)


def tell_everything(metrics: Metrics) -> None:
    metrics.events({(220, "advanced"): 3, (101, "ignored"): 2, (499, "duplicate"): 1})
    metrics.rejected("decode", "bad_code", 1)
    metrics.rejected("salesforce", "ENTITY_IS_DELETED", 1)
    metrics.anomalies("conflict", 1)
    metrics.batch(5000)
    metrics.transaction(0.2, "committed")
    metrics.statuses(3)
    metrics.restored(1.5, 1000)
    metrics.settled("written", [12.0, 90_000.0])
    metrics.expired(4)
    metrics.gauges(OwedCount(2, 1), 10, {0: 7, 1: 0})
    metrics.blocked(0)
    metrics.request("composite", "ok", 0.3)
    metrics.rows("settled", 900)
    metrics.api_usage(18, 5000)
    metrics.paused(1_700_000_000.5)
    metrics.login("ok")


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"sms_processor_{name}", labels)


def test_it_is_the_meter_of_the_worker_and_of_the_writer(metrics: Metrics) -> None:
    worker: Meter = metrics
    writer: RequestMeter = metrics
    assert {id(worker), id(writer)} == {id(metrics)}


def test_promtool_finds_nothing_to_complain_of(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    if not shutil.which("promtool"):
        do_without("promtool is not on this machine (Debian: prometheus)")
    tell_everything(metrics)
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(registry), capture_output=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_in_a_fresh_process_every_bounded_series_is_there_at_0(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    seen: dict[str, set[float]] = {}
    for family in registry.collect():
        seen.setdefault(family.name, set()).update(sample.value for sample in family.samples)
    labelled = [row for row in describe_metrics() if row.labels and row.type != "info"]
    names = {row.name.removesuffix("_total") for row in labelled}
    assert {name for name in names if not seen[name]} == {"sms_processor_consumer_lag_records"}
    assert {name for name in names if seen[name] - {0.0}} == set()
    for stage, reasons in REASONS.items():
        for reason in reasons:
            assert value(registry, "dead_letters_total", stage=stage, reason=reason) == 0
    for code in ("UNABLE_TO_LOCK_ROW", "ENTITY_IS_DELETED", "other"):
        assert value(registry, "dead_letters_total", stage="salesforce", reason=code) == 0


def test_what_can_be_counted_was_there_before(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    before = series(registry)
    tell_everything(metrics)
    lag = {name for name in series(registry) if "consumer_lag_records" in name}
    assert series(registry) - before == lag


def series(registry: CollectorRegistry) -> set[str]:
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def test_the_first_dead_letter_of_its_kind_raises_the_alert(
    metrics: Metrics, registry: CollectorRegistry, tmp_path: Path
) -> None:
    scrapes = []
    for _ in range(2):
        scrapes.append({
            (sample.labels["stage"], sample.labels["reason"]): sample.value
            for family in registry.collect() for sample in family.samples
            if sample.name == "sms_processor_dead_letters_total"
        })  # fmt: skip
        metrics.rejected("decode", "bad_code", 1)
    told = [
        {
            "series": f'sms_processor_dead_letters_total{{stage="{stage}",reason="{reason}"}}',
            "values": f"{scrapes[0].get((stage, reason), '_')}x5 {now}x5",
        }
        for (stage, reason), now in scrapes[1].items()
    ]
    labels = {"stage": "decode", "reason": "bad_code"}
    expected = {
        "alertname": "DeadLetters",
        "eval_time": "8m",
        "exp_alerts": [{"exp_labels": labels}],
    }
    story = {"interval": "1m", "input_series": told, "alert_rule_test": [expected]}
    promtool([recommended()["DeadLetters"]], story, tmp_path)


def test_events_are_counted_by_category_and_outcome(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.events({(220, "advanced"): 3, (200, "advanced"): 2, (402, "superseded"): 1})
    metrics.events({(220, "advanced"): 4, (299, "advanced"): 1})
    metrics.rejected("decode", "bad_code", 5)
    metrics.rejected("collapse", "too_late", 6)
    events = "events_total"
    assert value(registry, events, category="Delivery", outcome="advanced") == 10
    assert value(registry, events, category="Failed", outcome="superseded") == 1
    assert value(registry, events, category="none", outcome="rejected") == 5
    assert value(registry, "unknown_codes_total", category="Delivery") == 1
    assert value(registry, "dead_letters_total", stage="decode", reason="bad_code") == 5
    assert value(registry, "dead_letters_total", stage="collapse", reason="too_late") == 6


def test_whatever_comes_from_outside_labels_stay_bounded(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    tell_everything(metrics)
    few = len(generate_latest(registry).splitlines())
    for n in range(500):
        odd = f"odd {n}"
        metrics.rejected(odd, odd, 1)
        metrics.rejected("salesforce", f"CUSTOM_{n}", 1)
        metrics.anomalies(odd, 1)
        metrics.transaction(1, odd)
        metrics.settled(odd, [1])
        metrics.request(odd, odd, 1)
        metrics.rows(odd, 1)
        metrics.login(odd)
        metrics.events({(220, odd): 1})
    assert len(generate_latest(registry).splitlines()) < few + 80
    assert value(registry, "dead_letters_total", stage="salesforce", reason="other") == 500


def test_a_partition_that_was_given_away_has_no_lag(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.gauges(OwedCount(5, 6), 7, {0: 10, 1: 20})
    metrics.gauges(OwedCount(1, 2), 3, {1: 21, 2: 0})
    lag = "consumer_lag_records"
    assert [value(registry, lag, partition=str(p)) for p in range(3)] == [None, 21, 0]
    metrics.gauges(OwedCount(1, 2, in_doubt=2), 3, {0: 4})
    assert [value(registry, lag, partition=str(p)) for p in range(3)] == [4, None, None]
    assert value(registry, "rows_owed", priority="final") == 1
    assert value(registry, "rows_owed", priority="intermediate") == 2
    assert value(registry, "rows_in_doubt") == 2
    assert value(registry, "statuses_stored") == 3


def test_odd_stamps_and_keys_of_each_batch_add_up(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for count in (3, 0, 5):
        metrics.oddities(
            Oddities(
                stamps_unusable=count,
                stamps_missing=2 * count,
                stamps_future=3 * count,
                record_times_unusable=4 * count,
                keys_not_message_id=5 * count,
                keys_elsewhere=6 * count,
            )
        )
    odd = [
        *(value(registry, "odd_stamps_total", kind=kind) for kind in STAMPS),
        *(value(registry, "odd_keys_total", kind=kind) for kind in KEYS),
    ]
    assert odd == [8, 16, 24, 32, 40, 48]


def test_the_way_to_salesforce_is_measured_up_to_a_day(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.settled("written", [1.0, 86_400.0, 86_401.0])
    name = "event_to_salesforce_seconds_bucket"
    assert value(registry, name, outcome="written", le="1.0") == 1
    assert value(registry, name, outcome="written", le="86400.0") == 2
    assert value(registry, name, outcome="written", le="+Inf") == 3


def test_the_version_and_the_form_that_run_are_told(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    assert value(registry, "build_info", version="1.2.3", form="compiled") == 1


def test_the_table_has_every_metric_of_ours_that_is_scraped(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    tell_everything(metrics)
    scraped = {
        line.split()[2]
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith("# TYPE sms_processor_")
    }
    rows = describe_metrics()
    assert {row.name for row in rows} == scraped
    assert len(rows) == len(scraped)
    assert all(row.help.endswith(".") for row in rows)
    by_name = {row.name: row for row in rows}
    assert by_name["sms_processor_events_total"].labels == ("category", "outcome")
    assert by_name["sms_processor_batch_records"].type == "histogram"

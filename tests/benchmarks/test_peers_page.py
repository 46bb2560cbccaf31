"""What the page says of Kafka Streams is what was measured."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.peers import figures, page
from benchmarks.peers.contenders import BARE, STREAMS, WORKER
from benchmarks.peers.picture import picture

SAVED = page.ROOT / page.RESULT


@pytest.fixture
def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAVED.read_text(encoding="utf-8"))
    return found


def test_the_page_has_the_tables_of_the_saved_result(report: dict[str, Any]) -> None:
    assert page.tables(report) in (page.ROOT / page.PAGE).read_text(encoding="utf-8")


def test_the_picture_is_of_the_saved_result(report: dict[str, Any]) -> None:
    drawn = picture(report)
    assert (page.ROOT / page.PICTURE).read_text(encoding="utf-8") == drawn
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert f"{report['medians'][WORKER]['events_per_s']:,.0f}" in texts
    assert any(report["date"] in (text or "") and "cores" in (text or "") for text in texts)


def test_both_came_to_the_same_statuses(report: dict[str, Any]) -> None:
    assert report["compared"]
    for one in report["compared"]:
        assert (one["codes"], one["others"], one["missing"]) == (0, 0, 0)


def test_ratios_are_taken_round_by_round() -> None:
    def rounds(*rates: int) -> list[dict[str, float]]:
        return [
            {
                "events_per_s": rate,
                "cpu_us_per_event": 1e6 / rate,
                "process_cpu_us_per_event": 1e6 / rate,
                "peak_memory_mb": 100,
            }
            for rate in rates
        ]

    results = {
        BARE: rounds(100, 10, 100),
        WORKER: rounds(50, 6, 70),
        STREAMS: rounds(25, 5, 20),
    }
    found = figures.ratios(results)
    assert found["worker_to_bare_events_per_s"] == {"median": 0.6, "rounds": [0.5, 0.6, 0.7]}
    assert found["worker_to_kafka_streams_cpu"] == {"median": 0.5, "rounds": [0.5, 0.833, 0.286]}
    assert figures.medians(results)[WORKER]["events_per_s"] == 50

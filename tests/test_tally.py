"""What is told of a committed plan."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from processor.core.events import Outcome, Settlement
from processor.core.plan import Plan
from processor.metrics import Metrics
from processor.tally import count
from tests.fakes.states import NOW, state


def test_a_status_from_after_our_clock_took_no_time_and_never_less() -> None:
    """Negative seconds made the sum of all the others wrong, for good."""
    registry = CollectorRegistry()
    decided = Plan(
        settled=[
            (state("m", at=NOW + ahead), Settlement("m", 1, 220, NOW, Outcome.WRITTEN))
            for ahead in (90_000, -2_000)
        ]
    )
    count(Metrics(registry), {0: []}, {0: decided}, NOW)
    name = "sms_processor_event_to_salesforce_seconds_sum"
    assert registry.get_sample_value(name, {"outcome": "written"}) == 2

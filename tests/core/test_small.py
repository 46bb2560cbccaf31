"""The small parts of the core: attributes, derived properties."""

from __future__ import annotations

from processor.core.attributes import values_of
from processor.core.events import MessageState

STATE = MessageState(
    "m", {200: 1_700_000_000_000, 220: 1_700_000_001_005}, 220, "T", 1, "a", 1, 2, 3
)


def test_attributes_of_a_status() -> None:
    names = ("category", "code", "description", "final", "event_time", "message_id", "version")
    assert values_of(STATE, {name: name for name in names}) == {
        "category": "Delivery",
        "code": 220,
        "description": "Message delivered",
        "final": True,
        "event_time": "2023-11-14T22:13:21.005Z",
        "message_id": "m",
        "version": 2,
    }


def test_times_of_a_state() -> None:
    assert STATE.event_time == STATE.last_event_time == 1_700_000_001_005

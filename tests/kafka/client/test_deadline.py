"""A call that does not come back is given up, and does not keep the process."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka.client.deadline import DeadlineCaller, StuckError


def test_a_call_is_made_and_what_it_raises_is_raised() -> None:
    within = DeadlineCaller("test")
    made: list[int] = []
    within(lambda: made.append(1), 1.0)
    assert made == [1]

    def refuse() -> None:
        raise KafkaException(KafkaError(KafkaError._FENCED))

    with pytest.raises(KafkaException):
        within(refuse, 1.0)
    with pytest.raises(ValueError, match="x"):
        within(lambda: int("x"), 1.0)  # type: ignore[arg-type]  # a wrong call
    within.close()


def test_a_call_that_never_ends_is_stuck_after_its_deadline() -> None:
    within = DeadlineCaller("test", grace_s=0.05)
    for_ever = threading.Event()

    def wait() -> None:
        for_ever.wait()

    with pytest.raises(StuckError):
        within(wait, 0.05)
    for_ever.set()

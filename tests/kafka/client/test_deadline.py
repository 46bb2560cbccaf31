"""A call that does not come back is given up, and does not keep the process."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka.client.deadline import DeadlineCaller, StuckError
from processor.kafka.client.producer import Dead, TransactionalProducer


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


class Batch:
    """What is large, and at hand when a call is made."""


@pytest.fixture
def only_counting() -> Iterator[None]:
    """What lies in a reference cycle stays, as it does between two rounds of the collector."""
    gc.disable()
    yield
    gc.enable()


def left_by(attempt: Callable[[Batch], None]) -> Batch | None:
    batch = Batch()
    left = weakref.ref(batch)
    attempt(batch)
    del batch
    return left()


@pytest.mark.usefixtures("only_counting")
def test_a_call_that_failed_keeps_nothing_of_what_was_at_hand() -> None:
    within = DeadlineCaller("test")

    def refused(batch: Batch) -> None:
        def refuse() -> None:
            raise KafkaException(KafkaError(KafkaError._FENCED), batch)

        with pytest.raises(KafkaException):
            within(refuse, 1.0)
        within(lambda: None, 1.0)  # the thread has come back from the first

    assert left_by(refused) is None
    within.close()


@pytest.mark.usefixtures("only_counting")
def test_a_transaction_that_failed_keeps_nothing_of_its_batch() -> None:
    producer = TransactionalProducer("127.0.0.1:1", {}, "never opened")

    def failed(_batch: Batch) -> None:
        with pytest.raises(Dead):
            producer.commit()

    assert left_by(failed) is None
    producer.discard()

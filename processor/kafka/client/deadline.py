"""Calls into the Kafka client, with a deadline that holds.

librdkafka takes a timeout for each call and does not keep it on every path: after a process was
stopped while its broker restarted, `send_offsets_to_transaction` was seen to wait for ever. The
member's heartbeats go on meanwhile, so its partitions would stand still until the poll interval
ends, and no signal would be handled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import SimpleQueue
from typing import Final

from confluent_kafka import KafkaException

BUGS: Final = (TypeError, ValueError, RuntimeError)  # what the client raises for a wrong call
GRACE_S: Final = 10.0  # beyond the call's own timeout, before it counts as stuck


class StuckError(Exception):
    """The call has not come back. Whatever it was made on must never be touched again."""


class DeadlineCaller:
    """One thread that makes the calls of one client.

    A stuck thread keeps the client alive by its own stack, which is wanted: destroying it would
    hang as well. It is a daemon, so it does not keep the process from ending.
    """

    def __init__(self, name: str, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._calls: SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __call__(self, call: Callable[[], None], timeout_s: float) -> None:
        """Make a call that promises to end within `timeout_s`.

        Raises what the call raises, and StuckError when it did not come back.
        """
        future: Future[None] = Future()
        self._calls.put((call, future))
        try:
            future.result(timeout_s + self._grace_s)
        except FutureTimeoutError:
            if future.done():
                raise  # the call's own
            self.close()
            raise StuckError from None
        finally:
            # What a call raises has this frame in its traceback. With the future here as well they
            # would hold each other, and all that the callers have at hand: a whole batch.
            del future

    def close(self) -> None:
        """No more calls. Does not wait."""
        self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                call()
            except (KafkaException, *BUGS) as error:
                future.set_exception(error)
            else:
                future.set_result(None)
            del item, call, future  # else the last call's client lives until the next call

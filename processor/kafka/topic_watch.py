"""Is a topic still the one that it was? Asked now and then, without waiting for any answer.

A topic that is deleted and made again has the same name and another id. Clients go on where they
stood: the new topic's first records would be skipped, and statuses be looked for in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from types import MappingProxyType
from typing import Final, NamedTuple

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from processor.kafka.offsets import REQUEST_TIMEOUT_S
from processor.kafka.options import Options, built, connection

INTERVAL_S: Final = 5.0


class Expected(NamedTuple):
    """What was found at the start, and must not change. `partitions`: of the events topic; one
    beyond them stops the process (None: any may come). `identities`: topic name -> its id.
    """

    partitions: int | None = None
    identities: Mapping[str, str] = MappingProxyType({})


class TopicWatch:
    """`identities`: topic name -> the id that it had at the start."""

    def __init__(
        self,
        bootstrap_servers: str,
        options: Options,
        identities: Mapping[str, str],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._admin = built(AdminClient, connection(bootstrap_servers, options))
        self._identities = identities
        self._monotonic_s = monotonic_s
        self._asked: dict[str, Future[TopicDescription]] = {}
        self._asked_at = float("-inf")

    def changed(self) -> str:
        """What to tell an operator when a topic is another one; "": none is, as far as is known.

        A topic that is missing, and a broker that does not answer, are not told here.
        """
        if why := self._heard():
            return why
        now_s = self._monotonic_s()
        if self._identities and not self._asked and now_s - self._asked_at >= INTERVAL_S:
            self._ask()
        return ""

    def changed_by_now(self) -> str:
        """The same, as of now: waits for the answer, which may be that there is none."""
        if self._identities:
            self._ask()
            wait(self._asked.values(), REQUEST_TIMEOUT_S)
        return self._heard()

    def _ask(self) -> None:
        self._asked_at = self._monotonic_s()
        self._asked = self._admin.describe_topics(
            TopicCollection(list(self._identities)), request_timeout=REQUEST_TIMEOUT_S
        )

    def _heard(self) -> str:
        for name, answer in list(self._asked.items()):
            if answer.done():
                del self._asked[name]
                if answer.exception() is None:
                    found = str(answer.result().topic_id)
                    if found != self._identities[name]:
                        return _made_again(name, self._identities[name], found)
        return ""


def _made_again(name: str, before: str, after: str) -> str:
    return (
        f"topic {name} was deleted and made again: it had the id {before}, and has the id {after} "
        "now. Nothing of it is read or written any more. Start the process again: the start says "
        "what can be done"
    )

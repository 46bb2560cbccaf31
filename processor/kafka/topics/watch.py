"""Is a topic still the one that it was, or is it gone? Asked now and then, without waiting for
any answer. So this is also who knows when Kafka answered last.

A topic that is deleted and made again has the same name and another id. Clients go on where they
stood: the new topic's first records would be skipped, and statuses be looked for in vain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from types import MappingProxyType
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from processor.kafka.client.options import Options, built, connection
from processor.kafka.group.offsets import REQUEST_TIMEOUT_S

_log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
GONE_GRACE_S: Final = 60.0  # a broker that has just started may not know its topics yet


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
        self._answered_at = float("-inf")
        self._gone_since: dict[str, float] = {}

    def silent_s(self) -> float:
        """For how long Kafka has not answered; infinite: it never has."""
        return self._monotonic_s() - self._answered_at

    def gone(self) -> list[str]:
        """The topics that are missing, by Kafka's last answer."""
        return list(self._gone_since)

    def changed(self) -> str:
        """What to tell an operator when a topic is another one, or has been missing for a while;
        "": all are there, as far as is known. A broker that does not answer says nothing of it.
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
                if why := self._judge(name, answer):
                    return why
        return ""

    def _judge(self, name: str, answer: Future[TopicDescription]) -> str:
        now_s = self._monotonic_s()
        failure = answer.exception()
        if failure is None:
            self._answered_at = now_s
            self._gone_since.pop(name, None)
            found = str(answer.result().topic_id)
            before = self._identities[name]
            return "" if found == before else _made_again(name, before, found)
        if _says(failure, KafkaError.UNKNOWN_TOPIC_OR_PART):
            self._answered_at = now_s
            if name not in self._gone_since:
                self._gone_since[name] = now_s
                _log.error(
                    "topic is gone, or hidden from this user: bring it back (or give the user "
                    "Describe on it), or the process stops",
                    extra={"topic": name, "stops_in_s": GONE_GRACE_S},
                )
            if now_s - self._gone_since[name] >= GONE_GRACE_S:
                return _gone(name)
        return ""


def _says(failure: BaseException, code: int) -> bool:
    error = failure.args[0] if isinstance(failure, KafkaException) else None
    return isinstance(error, KafkaError) and error.code() == code


def _gone(name: str) -> str:
    return (
        f"topic {name} does not exist any more: it was deleted, or is hidden from this "
        "user. What it held and nobody had read is lost. To go on, stop every "
        "process of the group, make the topic anew with as many partitions (or give the user "
        "Describe on it), and start again: the start says what can be done"
    )


def _made_again(name: str, before: str, after: str) -> str:
    return (
        f"topic {name} was deleted and made again: it had the id {before}, and has the id {after} "
        "now. Nothing of it is read or written any more. Start the process again: the start says "
        "what can be done"
    )

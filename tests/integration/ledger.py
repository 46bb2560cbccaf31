"""The accounts of a run, from what the topics and the org hold in the end.

The expectation comes from the sandbox's traffic and its oracle, which share no code with the
processor's core.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from processor.core.events import MessageState
from processor.kafka.avro.registry import prefix_for
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec
from processor.kafka.client.error_codes import PARTITION_EOF
from processor.kafka.dead_letters import EVENT_TIME, PREFIX
from processor.sandbox.demo.judge import Org, Verdict, judge
from processor.sandbox.traffic.generator import Report, Traffic
from processor.sandbox.traffic.oracle import Expected, count
from tests.integration.stage import PARTITIONS, PATIENCE_S, Stage, wait
from tests.support.patience import Patience

Place = tuple[int, int]
"""Partition and offset of an event."""


class TopicLog:
    """Everything that is committed in a topic, in the order of each partition."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.records: list[Message] = []
        self._topic = topic
        self._next = dict.fromkeys(range(PARTITIONS), OFFSET_BEGINNING)
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topic}-reader",  # wanted by the client, and not joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }

    def read(self) -> list[Message]:
        """Go on to the present end; what was new."""
        known = len(self.records)
        ended: set[int | None] = set()
        limit = Patience(PATIENCE_S)
        with Consumer(self._config) as consumer:
            consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])
            while len(ended) < PARTITIONS:
                assert not limit.is_over(), f"{self._topic} can't be read to its end"
                for message in consumer.consume(5_000, 0.2):
                    error, partition, offset = (
                        message.error(),
                        message.partition(),
                        message.offset(),
                    )
                    if error is None and partition is not None and offset is not None:
                        self.records.append(message)
                        self._next[partition] = offset + 1
                    elif error is not None and error.code() == PARTITION_EOF:
                        ended.add(partition)
        return self.records[known:]


class Ledger:
    """What a stage's topics hold."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        names = stage.names
        self.events = TopicLog(stage.bootstrap_servers, names.events)
        self.letters = TopicLog(stage.bootstrap_servers, names.dead_letter)
        self.statuses = TopicLog(stage.bootstrap_servers, names.status)
        self.latest: dict[str, MessageState] = {}
        self.versions: dict[str, list[MessageState]] = defaultdict(list)
        schema = schema_text("delivery_status.avsc")
        prefix = prefix_for(schema, names.status, stage.registry, register=True)
        self._codec = StatusCodec(schema, prefix, stage.registry)

    def owed(self) -> int:
        """Statuses that Salesforce has yet to confirm."""
        for message in self.statuses.read():
            value = message.value()
            assert value is not None, "nothing expires in a test"
            state = self._codec.decode(value)
            self.versions[state.message_id].append(state)
            self.latest[state.message_id] = state
        return sum(state.owed for state in self.latest.values())

    def wait_until_settled(self, timeout_s: float = PATIENCE_S) -> None:
        """Everything that was sent is read, and nothing is owed."""
        stage = self._stage
        wait("all events read", lambda: stage.unread() == 0, timeout_s)
        wait("nothing owed", lambda: self.owed() == 0, timeout_s)

    # -- the accounts ------------------------------------------------------------------------

    def check(self, *traffics: Traffic, org: Org | None = None) -> Verdict:
        """Every event is accounted for, exactly once. Returns what the org came to."""
        wanted = Expected()
        for message in itertools.chain.from_iterable(t.lives() for t in traffics):
            count(message, wanted)
        self.owed()
        self.events.read()
        self.letters.read()
        assert len(self.events.records) == wanted.events
        kept = {message_id: state.history for message_id, state in self.latest.items()}
        assert histories(itertools.chain(*traffics)) == kept
        self._check_letters(wanted)
        self._check_versions()
        return judge(org or self._stage.org, wanted.tasks)

    def check_all_right(self, *traffics: Traffic, org: Org | None = None) -> None:
        """As `check`, and every Task is right and none ever went back."""
        verdict = self.check(*traffics, org=org)
        assert (verdict.wrong, verdict.regressions) == ([], 0)

    def _check_letters(self, wanted: Expected) -> None:
        """Each poisoned event has one letter, which is the event as it was; no other has any."""
        found: dict[Place, Message] = {}
        for letter in self.letters.records:
            first = found.setdefault(place_of(letter), letter)
            assert first is letter, f"two dead letters: {told(first)} and {told(letter)}"
        reasons = Counter(header(letter, "exception.class.name") for letter in found.values())
        assert reasons == wanted.dead_letters
        for event in self.events.records:
            its = found.get((event.partition() or 0, event.offset() or 0))
            if its is not None:
                assert (its.key(), its.value()) == (event.key(), event.value())
                assert event_time(its) == event.timestamp()[1]

    def _check_versions(self) -> None:
        """One line of versions for each message, whoever wrote it: a record of an owner that had
        lost the partition would break it.
        """
        for message_id, states in self.versions.items():
            for before, after in itertools.pairwise(states):
                assert before.version <= after.version, f"{message_id}: a version came back"
                grown = all(
                    after.history.get(code, -1) >= at for code, at in before.history.items()
                )
                assert grown, f"{message_id}: a code was forgotten"
                if before.version == after.version:
                    assert _values(before) == _values(after), f"{message_id}: two of one version"
                assert before.settled_version <= after.settled_version
                assert before != after, f"{message_id}: the same was published twice"


def _values(state: MessageState) -> tuple[int, str | None, int]:
    return state.code, state.task_id, state.version_at


def histories(reports: Iterable[Report]) -> dict[str, dict[int, int]]:
    """Message id -> each code with its latest time, of the events that count."""
    found: dict[str, dict[int, int]] = {}
    for report in reports:
        event = report.event
        if report.poison is not None or not event["metadata"].get("salesforce_task_id"):
            continue
        stamp = event["date_received"] or event["submitted_date"] or report.timestamp_ms
        history = found.setdefault(event["message_id"], {})
        code, at = event["status_code"], min(stamp, report.timestamp_ms)
        history[code] = max(at, history.get(code, at))
    return found


def place_of(letter: Message) -> Place:
    """Where the event of a dead letter lies."""
    return int(header(letter, "partition")), int(header(letter, "offset"))


def event_time(letter: Message) -> int:
    """The timestamp that its event's record has."""
    return int(dict(letter.headers() or [])[EVENT_TIME] or b"")


def told(letter: Message) -> str:
    """Of what, why, and where and when it was written."""
    names = ("topic", "partition", "offset", "stage", "exception.class.name")
    of = " ".join(header(letter, name) for name in names)
    return f"{of} at {letter.partition()}:{letter.offset()} {letter.timestamp()[1]}"


def header(letter: Message, name: str) -> str:
    raw = dict(letter.headers() or [])[PREFIX + name]
    return raw.decode() if isinstance(raw, bytes) else str(raw)

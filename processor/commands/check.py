"""`processor check`: can everything be reached, and is it as it must be? One line each.

CHANGE: it can't be reached, or has to be changed. ADVICE: `run` only warns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from processor.commands.compose import STATUS_SCHEMA, connect_registry, login, not_ours, topics
from processor.commands.loading import load
from processor.config.settings import Settings
from processor.errors import ConfigError, ProcessorError
from processor.kafka.avro.schemas import schema_text
from processor.kafka.topics.provenance import Provenance
from processor.kafka.topics.rights import judge_rights
from processor.kafka.topics.rules import Finding
from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging
from processor.runtime.machine import too_few_files
from processor.salesforce.client import Client
from processor.store.faults import outlook


class Level(StrEnum):
    """The first word of a line."""

    OK = "ok"
    ADVICE = "ADVICE"
    CHANGE = "CHANGE"


Line = tuple[Level, str]


def check(config: str | None) -> int:
    """1 when something has to be changed, else 0."""
    settings = load(config, needs=("kafka", "salesforce"))
    set_up_logging("ERROR", settings.log.format)
    levels = set()
    looks = (
        ("kafka", _kafka),
        ("registry", _registry),
        ("salesforce", look_at_org),
        ("state", _state),
    )
    for name, look in looks:
        for level, text in _lines(settings, look):
            print(f"{level:<6}  {name}: {text}")
            levels.add(level)
    return 1 if Level.CHANGE in levels else 0


def _lines(settings: Settings, look: Callable[[Settings], Iterable[Line]]) -> list[Line]:
    lines: list[Line] = []
    try:
        for line in look(settings):
            lines.append(line)  # noqa: PERF402 - those before an error are to be told too
    except ProcessorError as error:
        lines.append((Level.CHANGE, str(error)))
    return lines


def _kafka(settings: Settings) -> Iterable[Line]:
    kafka, kafka_topics = settings.kafka, topics(settings)
    for finding in kafka_topics.check():
        yield _level(finding), finding.text
    rights = judge_rights(
        kafka.bootstrap_servers, kafka.options, kafka.group_id, kafka.transactional_id
    )
    for finding in rights:
        yield _level(finding), finding.text
    try:
        partitions = kafka_topics.find(kafka.events_topic).partitions
    except ConfigError:  # it is missing, which is told already
        partitions = kafka.events_partitions or 0
    if problem := too_few_files(partitions):
        yield Level.ADVICE, problem
    if all(finding.ok for finding in rights):  # else it is not for us to know
        yield from _provenance(settings)


def _provenance(settings: Settings) -> Iterable[Line]:
    """Whose the group's offsets and the status topic's records are."""
    kafka_topics, kafka = topics(settings), settings.kafka
    status = kafka_topics.status()
    known = Provenance(kafka.bootstrap_servers, kafka.options, kafka.group_id)
    try:
        events = kafka_topics.find(kafka.events_topic)
    except ConfigError:  # it is missing, which is told already
        events = None
    committed = known.committed(kafka.events_topic, events.partitions) if events else {}
    kept = known.last(kafka.status_topic, status.partitions) if status else {}
    wrong = not_ours(kafka, events, status, committed, kept)
    if not wrong and (committed or kept):
        yield Level.OK, f"{kafka.status_topic}: goes with the offsets of group {kafka.group_id}"
    for why in wrong:
        yield Level.CHANGE, why


def _state(settings: Settings) -> Iterable[Line]:
    return [(Level.OK, outlook(settings.state.dir))]


def _level(finding: Finding) -> Level:
    if finding.ok:
        return Level.OK
    return Level.CHANGE if finding.fatal else Level.ADVICE


def _registry(settings: Settings) -> Iterable[Line]:
    registry = connect_registry(settings, SystemClock())
    if registry is None:
        return [(Level.OK, "none set: the packaged schemas are used")]
    topic = settings.kafka.status_topic
    try:
        found = registry.look_up(f"{topic}-value", schema_text(STATUS_SCHEMA))
    finally:
        registry.close()
    if found is not None:
        return [(Level.OK, f"answers, and has the schema of {topic}")]
    missing = f"answers, and does not have our schema under the subject {topic}-value"
    if settings.schema_registry.register:
        return [(Level.OK, f"{missing}: it is registered at the start")]
    advice = "run `processor schemas register`, or set PROCESSOR_SCHEMA_REGISTRY__REGISTER=true"
    return [(Level.CHANGE, f"{missing}: {advice}")]


def look_at_org(settings: Settings) -> Iterable[Line]:
    """Raises ConfigError and Unavailable where it can't be written to."""
    client = Client(login(settings))
    try:
        client.log_in()
        yield Level.OK, "logged in"
        problems = client.check_fields(settings.salesforce.fields)
    finally:
        client.close()
    if problems:
        raise ConfigError("; ".join(problems))
    fields = ", ".join(f"Task.{field}" for field in settings.salesforce.fields)
    yield Level.OK, f"{fields} can be written"

"""`processor check`: can everything be reached, and is it as it must be? One line each.

CHANGE: it can't be reached, or has to be changed. ADVICE: `run` only warns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from processor.clock import SystemClock
from processor.commands.compose import STATUS_SCHEMA, connect_registry, login, topics
from processor.commands.loading import load
from processor.config import Settings
from processor.errors import ConfigError, ProcessorError
from processor.kafka.topic_rules import Finding
from processor.logs import set_up_logging
from processor.resources import schema_text
from processor.salesforce.client import Client


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
    for name, look in (("kafka", _topics), ("registry", _registry), ("salesforce", _salesforce)):
        for level, text in _lines(settings, look):
            print(f"{level:<6}  {name}: {text}")
            levels.add(level)
    return 1 if Level.CHANGE in levels else 0


def _lines(settings: Settings, look: Callable[[Settings], Iterable[Line]]) -> list[Line]:
    try:
        return list(look(settings))
    except ProcessorError as error:
        return [(Level.CHANGE, str(error))]


def _topics(settings: Settings) -> Iterable[Line]:
    return [(_level(finding), finding.text) for finding in topics(settings).check()]


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


def _salesforce(settings: Settings) -> Iterable[Line]:
    client = Client(login(settings))
    try:
        client.log_in()
        problems = client.check_fields(settings.salesforce.fields)
    finally:
        client.close()
    if problems:
        raise ConfigError("; ".join(problems))
    fields = ", ".join(f"Task.{field}" for field in settings.salesforce.fields)
    return [(Level.OK, "logged in"), (Level.OK, f"{fields} can be written")]

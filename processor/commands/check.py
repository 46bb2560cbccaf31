"""`processor check`: can everything be reached, and is it as it must be? One line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from processor.clock import SystemClock
from processor.commands.compose import connect_registry, login, topics
from processor.config import Settings, load_settings
from processor.errors import ConfigError, ProcessorError
from processor.kafka.registry import prefix_for
from processor.logs import set_up_logging
from processor.resources import schema_text
from processor.salesforce.client import Client

Line = tuple[bool, str]


def check(config: str | None) -> int:
    """0 when every line is ok, else 1."""
    settings = load_settings(config, needs=("kafka", "salesforce", "state"))
    set_up_logging("ERROR", settings.log.format)
    ok = True
    for name, look in (("kafka", _topics), ("registry", _registry), ("salesforce", _salesforce)):
        for good, text in _lines(settings, look):
            print(f"{'ok    ' if good else 'CHANGE'}  {name}: {text}")
            ok &= good
    return 0 if ok else 1


def _lines(settings: Settings, look: Callable[[Settings], Iterable[Line]]) -> list[Line]:
    try:
        return list(look(settings))
    except ProcessorError as error:
        return [(False, str(error))]


def _topics(settings: Settings) -> Iterable[Line]:
    return [(finding.ok, finding.text) for finding in topics(settings).check()]


def _registry(settings: Settings) -> Iterable[Line]:
    registry = connect_registry(settings, SystemClock())
    if registry is None:
        return [(True, "none set: the packaged schemas are used")]
    try:
        prefix_for(schema_text("delivery_status.avsc"), settings.kafka.status_topic, registry)
    finally:
        registry.close()
    return [(True, f"answers, and has the schema of {settings.kafka.status_topic}")]


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
    return [(True, "logged in"), (True, f"{fields} can be written")]

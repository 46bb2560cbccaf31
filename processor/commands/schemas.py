"""`processor schemas register`: our schemas into the Schema Registry, before a first deployment."""

from __future__ import annotations

from processor.commands.compose import EVENT_SCHEMA, STATUS_SCHEMA, connect_registry
from processor.config.load import load_settings
from processor.errors import ConfigError
from processor.kafka.avro.registry import register_schemas
from processor.kafka.avro.schemas import schema_text
from processor.runtime.clock import SystemClock


def register(config: str | None) -> int:
    """Print a line for each subject."""
    settings = load_settings(config, needs=("registry",))
    registry = connect_registry(settings, SystemClock())
    if registry is None:
        raise ConfigError("SCHEMA_REGISTRY__URL: is missing")
    texts = {
        settings.kafka.events_topic: schema_text(EVENT_SCHEMA),
        settings.kafka.status_topic: schema_text(STATUS_SCHEMA),
    }
    for line in register_schemas(registry, texts):
        print(line)
    return 0

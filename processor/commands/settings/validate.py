"""`processor validate`: is what `processor run` would be started with right, as far as it can be
told without any far side?
"""

from __future__ import annotations

from processor.commands.compose import connect_registry
from processor.commands.loading import kafka_problems
from processor.config.load import load
from processor.config.settings import Settings
from processor.errors import ConfigError
from processor.runtime.clock import SystemClock


def validate(config: str | None) -> int:
    """0. Raises ConfigError with everything that is wrong."""
    written = load(config, needs=("kafka", "salesforce"), also=_more).written
    print(f"The settings are valid: {len(written)} are set, the others have their defaults.")
    return 0


def _more(settings: Settings) -> list[str]:
    return [*kafka_problems(settings), *_registry_problems(settings), *_key_problems(settings)]


def _registry_problems(settings: Settings) -> list[str]:
    try:
        registry = connect_registry(settings, SystemClock())
    except ConfigError as error:
        return [f"SCHEMA_REGISTRY__OPTIONS: {error}"]
    if registry is not None:
        registry.close()
    return []


def _key_problems(settings: Settings) -> list[str]:
    file = settings.salesforce.private_key_file
    if file is None or not file.is_file():  # which is told already
        return []
    try:
        settings.salesforce.private_key()
    except ConfigError as error:
        return [str(error).replace(" ", ": ", 1)]
    return []

"""`processor settings`: the list, as text or JSON; the JSON Schema; the values in force."""

from __future__ import annotations

import json

from processor.config.effective import effective_values
from processor.config.listening import PREFIX
from processor.config.load import load
from processor.config.schema import describe_settings, file_schema


def table(*, as_json: bool) -> int:
    """Every setting with its environment variable, default and meaning."""
    rows = describe_settings()
    if as_json:
        print(json.dumps([{"variable": PREFIX + row.name, **row._asdict()} for row in rows]))
        return 0
    for name, kind, default, meaning in rows:
        print(f"{PREFIX}{name}\n    {kind}, default {default}\n    {meaning}")
    return 0


def schema() -> int:
    """The JSON Schema of a TOML file."""
    print(json.dumps(file_schema(), indent=2))
    return 0


def effective(config: str | None) -> int:
    """Each value, and where it was written. Raises ConfigError with everything that is wrong."""
    for row in effective_values(load(config, needs=())):
        print(f"{row.name} = {row.value}  ({row.origin})")
    return 0

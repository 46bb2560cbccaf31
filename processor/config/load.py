"""Typed settings, from a TOML file and the environment; the environment wins.

The setting KAFKA__GROUP_ID is `group_id` in the table `[kafka]` of the file, and the variable
PROCESSOR_KAFKA__GROUP_ID. `load_settings` reports everything that is wrong at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from processor.config.checks import cross_check, missing
from processor.config.kinds import Kind, WrongValueError
from processor.config.settings import Salesforce, Settings
from processor.config.sources import (
    CONFIG_VARIABLE,
    Found,
    from_environment,
    from_file,
    place,
    unknown_setting,
)
from processor.errors import ConfigError


class SettingInfo(NamedTuple):
    """A row of the table of settings."""

    name: str
    type: str
    default: str
    help: str


def _declared() -> dict[str, tuple[str, Field[Any]]]:
    """Every setting's name -> its section and field."""
    return {
        f"{section}__{item.name}".upper(): (section, item)
        for section, cls in get_type_hints(Settings).items()
        for item in fields(cls)
    }


def setting_names() -> list[str]:
    """KAFKA__BOOTSTRAP_SERVERS and so on, in the order of declaration."""
    return list(_declared())


def describe_settings() -> list[SettingInfo]:
    """For the README's table and for `processor settings`."""
    return [
        SettingInfo(name, item.metadata["kind"].name, _shown(item), item.metadata["help"])
        for name, (_, item) in _declared().items()
    ]


def _shown(item: Field[Any]) -> str:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    if default is None or default == "":
        return "-"
    if isinstance(default, bool | tuple | dict):
        return json.dumps(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def load_settings(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    needs: Iterable[str] = ("kafka",),
    also: Callable[[Settings], list[str]] | None = None,
) -> Settings:
    """The settings of a file (`path`, else $PROCESSOR_CONFIG, else none) and the environment.

    `needs`: what the command can't do without, of kafka, registry, salesforce. `also`:
    more checks, each a line `SETTING: what is wrong; what to write`. Raises ConfigError with
    every problem, one a line.
    """
    environ = os.environ if environ is None else environ
    named = path or environ.get(CONFIG_VARIABLE)
    file = Path(named) if named else None
    problems: list[str] = []
    found = {} if file is None else from_file(file)
    found |= from_environment(environ, problems)
    values, failed = _typed(found, problems)
    settings = Settings(
        **{name: cls(**values[name]) for name, cls in get_type_hints(Settings).items()}
    )
    more = missing(settings, needs) + cross_check(settings) + (also(settings) if also else [])
    more = [text for text in more if text.partition(":")[0] not in failed]
    problems += [_placed(text, found, file) for text in more]
    if problems:
        raise _error(problems)
    return settings


def require_salesforce(settings: Settings) -> Salesforce:
    """The section. Raises ConfigError when it is not enough to log in."""
    problems = missing(settings, ("salesforce",))
    if problems:
        raise _error([_placed(text, {}, None) for text in problems])
    return settings.salesforce


def _typed(
    found: Mapping[str, Found], problems: list[str]
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Section -> field -> value, and the names of the settings that could not be read."""
    declared = _declared()
    values: dict[str, dict[str, Any]] = {section: {} for section in get_type_hints(Settings)}
    failed = set()
    for name, item in found.items():
        if name not in declared:
            problems.append(unknown_setting(item, name, declared))
            continue
        section, target = declared[name]
        kind: Kind = target.metadata["kind"]
        try:
            values[section][target.name] = kind.read(item.raw)
        except WrongValueError as error:
            problems.append(f"{item.where}: {error}")
            failed.add(name)
    return values, failed


def _placed(text: str, found: Mapping[str, Found], file: Path | None) -> str:
    """The text with each setting's name as its user writes it, where he has or where he would."""

    def written(match: re.Match[str]) -> str:
        known = found.get(match[0])
        return place(match[0], file) if known is None else known.where

    names = "|".join(sorted(_declared(), key=len, reverse=True))
    return re.sub(rf"\b({names})\b", written, text)


def _error(problems: list[str]) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(problems[0])
    return ConfigError("\n  ".join([f"{len(problems)} settings are wrong:", *problems]))

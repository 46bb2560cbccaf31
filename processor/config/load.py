"""Typed settings, from a TOML file and the environment; the environment wins.

The setting KAFKA__GROUP_ID is `group_id` in the table `[kafka]` of the file, and the variable
PROCESSOR_KAFKA__GROUP_ID. A secret may also be in a file of its own. Everything that is wrong is
reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from processor.config.checks import cross_check, missing
from processor.config.listening import CONFIG_VARIABLE
from processor.config.schema import known_settings
from processor.config.sentences import sentence
from processor.config.settings import Salesforce, Settings
from processor.config.sources import (
    SECRETS_VARIABLE,
    Found,
    SecretsDirectory,
    Source,
    TomlFile,
    Variables,
    beside,
    place,
)
from processor.errors import ConfigError


class Loaded(NamedTuple):
    """Settings, and where each that is not a default was written."""

    settings: Settings
    written: Mapping[str, Found]


def load_settings(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    needs: Iterable[str] = ("kafka",),
    also: Callable[[Settings], list[str]] | None = None,
) -> Settings:
    """As `load`, the settings alone."""
    return load(path, environ, needs=needs, also=also).settings


def load(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    needs: Iterable[str] = ("kafka",),
    also: Callable[[Settings], list[str]] | None = None,
) -> Loaded:
    """The settings of a file (`path`, else $PROCESSOR_CONFIG, else none) and the environment.

    `needs`: what the command can't do without, of kafka, registry, salesforce. `also`:
    more checks, each a line `SETTING: what is wrong; what to write`. Raises ConfigError with
    every problem, one a line.
    """
    environ = os.environ if environ is None else environ
    named = path or environ.get(CONFIG_VARIABLE)
    file = Path(named) if named else None
    sources = _sources(file, environ)
    settings = _validated(sources)
    written: dict[str, Found] = {}
    for source in reversed(sources):
        written |= source.found
    problems = [f"{item.where}: {item.problem}" for item in written.values() if item.problem]
    failed = {name for name, item in written.items() if item.problem}
    more = missing(settings, needs) + cross_check(settings) + (also(settings) if also else [])
    more = [text for text in more if text.partition(":")[0] not in failed]
    problems += [_placed(text, written, file) for text in more]
    if problems:
        raise _error(problems)
    return Loaded(settings, written)


def require_salesforce(settings: Settings) -> Salesforce:
    """The section. Raises ConfigError when it is not enough to log in."""
    problems = missing(settings, ("salesforce",))
    if problems:
        raise _error([_placed(text, {}, None) for text in problems])
    return settings.salesforce


def _sources(file: Path | None, environ: Mapping[str, str]) -> list[Source]:
    """The first one wins."""
    variables = Variables(environ)
    sources: list[Source] = [variables]
    if directory := environ.get(SECRETS_VARIABLE, "").strip():
        files = SecretsDirectory(Path(directory).expanduser())
        for name in variables.found.keys() & files.found.keys():
            variables.refuse(name, beside(files.found[name]))
        sources.append(files)
    if file is not None:
        sources.append(TomlFile(file))
    return sources


def _validated(sources: list[Source]) -> Settings:
    """Settings of all that can be read; the sources know of the rest what is wrong with it."""
    try:
        return Settings(sources)
    except ValidationError as errors:
        told = errors.errors(include_url=False, include_input=False)
    wrong = {"__".join(map(str, error["loc"][:2])).upper(): error for error in reversed(told)}
    for name, error in wrong.items():
        source = next(source for source in sources if source.has(name))
        source.refuse(name, sentence(error, known_settings()[name]))
    return _validated(sources)


def _placed(text: str, found: Mapping[str, Found], file: Path | None) -> str:
    """The text with each setting's name as its user writes it, where he has or where he would."""

    def written(match: re.Match[str]) -> str:
        known = found.get(match[0])
        return place(match[0], file) if known is None else known.where

    names = "|".join(sorted(known_settings(), key=len, reverse=True))
    return re.sub(rf"\b({names})\b", written, _of_option(text, found))


def _of_option(text: str, found: Mapping[str, Found]) -> str:
    """`KAFKA__OPTIONS: acks can't be set` is about KAFKA__OPTIONS__ACKS, if that is what is set."""
    setting, _, problem = text.partition(": ")
    for name, item in found.items():
        if item.option is None or not name.startswith(f"{setting}__"):
            continue
        if re.search(rf"(?<![\w.]){re.escape(item.option)}(?![\w.])", problem):
            return f"{item.where}: {problem}"
    return text


def _error(problems: list[str]) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(problems[0])
    return ConfigError("\n  ".join([f"{len(problems)} settings are wrong:", *problems]))

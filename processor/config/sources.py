"""Raw settings, by name, from where they were written."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from processor.errors import ConfigError

PREFIX: Final = "PROCESSOR_"
CONFIG_VARIABLE: Final = "PROCESSOR_CONFIG"
# Kubernetes tells every pod of every Service: PROCESSOR_PORT=tcp://10.0.0.7:9108 and the like.
_SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://")


class Found(NamedTuple):
    """A raw value, and how to name its place to the user. `file`: None for a variable."""

    raw: Any
    where: str
    file: Path | None = None


def place(name: str, file: Path | None) -> str:
    """Where a user writes a setting."""
    section, _, key = name.lower().partition("__")
    return PREFIX + name if file is None else f"{section}.{key} in {file}"


def from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Found]:
    """Every variable with our prefix. An empty one counts as not set."""
    found = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX)
        if variable in {name, CONFIG_VARIABLE} or _is_service_link(name, value):
            continue
        if name != name.upper():
            problems.append(f"{variable}: is not a setting; did you mean {variable.upper()}?")
        elif value.strip():
            found[name] = Found(value, variable)
    return found


def _is_service_link(name: str, value: str) -> bool:
    if "__" in name or not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("PORT") or "SERVICE" in name or bool(_SERVICE_URL.match(value))


def from_file(path: Path) -> dict[str, Found]:
    """Every key of every table of a TOML file. Raises ConfigError when it is none: whatever else
    is missing may be in it.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the file of settings {path} (--config or {CONFIG_VARIABLE}) can't be read "
            f"({error.strerror}): name a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of settings {path} is not TOML: {error}") from error
    found = {}
    for section, table in tables.items():
        if isinstance(table, dict):
            for key, raw in table.items():
                name = f"{section}__{key}".upper()
                found[name] = Found(raw, f"{section}.{key} in {path}", path)
        else:
            found[section.upper()] = Found(table, f"{section} in {path}", path)
    return found


def unknown_setting(found: Found, name: str, known: Iterable[str]) -> str:
    """What to say of a setting that there is not."""
    if close := difflib.get_close_matches(name, list(known), n=1, cutoff=0.6):
        meant = place(close[0], found.file).partition(" ")[0]
        return f"{found.where}: is not a setting; did you mean {meant}?"
    return f"{found.where}: is not a setting; `processor settings` lists them"

"""Raw settings, by name, from where they were written."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

PREFIX: Final = "PROCESSOR_"
CONFIG_VARIABLE: Final = "PROCESSOR_CONFIG"
# Kubernetes tells every pod of every Service: PROCESSOR_PORT=tcp://10.0.0.7:9108 and the like.
_SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://")


class Found(NamedTuple):
    """A raw value, and how to name its place to the user."""

    raw: Any
    where: str


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
            found[name] = Found(value, name)
    return found


def _is_service_link(name: str, value: str) -> bool:
    if "__" in name or not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("PORT") or "SERVICE" in name or bool(_SERVICE_URL.match(value))


def from_file(path: Path, problems: list[str]) -> dict[str, Found]:
    """Every key of every table of a TOML file."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: can't be read ({error.strerror}); name a TOML file")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML: {error}")
        return {}
    found = {}
    for section, table in tables.items():
        if isinstance(table, dict):
            for key, raw in table.items():
                name = f"{section}__{key}".upper()
                found[name] = Found(raw, f"{name} in {path}")
        else:
            found[section.upper()] = Found(table, f"{section} in {path}")
    return found


def unknown_setting(where: str, name: str, known: Iterable[str]) -> str:
    """What to say of a setting that there is not."""
    if close := difflib.get_close_matches(name, list(known), n=1, cutoff=0.6):
        return f"{where}: is not a setting; did you mean {close[0]}?"
    return f"{where}: is not a setting; `processor settings` lists them"

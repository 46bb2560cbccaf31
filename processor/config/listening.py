"""Where the process on this machine listens: of all the settings, what `processor health` needs.

A container asks for its health every few seconds, and to load all the settings takes five times
the CPU of the rest. So this reads two of them with the standard library alone, where they are
written plainly; anything else is left to `load.py`, which knows what may be written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from processor.errors import ConfigError

PREFIX: Final = "PROCESSOR_"
CONFIG_VARIABLE: Final = "PROCESSOR_CONFIG"
DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - a scraper is elsewhere
DEFAULT_PORT: Final = 9108
MAX_PORT: Final = 65_535

_PORT: Final = re.compile(r"0|[1-9]\d{0,4}", re.ASCII)


class Address(NamedTuple):
    """HTTP__HOST and HTTP__PORT."""

    host: str
    port: int


def plain_address(path: str | None, environ: Mapping[str, str]) -> Address | None:
    """As `load_settings` would find them. None: ask that. Raises ConfigError when the file of
    settings can't be read.
    """
    named = path or environ.get(CONFIG_VARIABLE)
    tables = read_tables(Path(named)) if named else {}
    if not all(name.islower() for name in tables):
        return None
    host = _written("host", DEFAULT_HOST, tables.get("http", {}), environ)
    port = _written("port", DEFAULT_PORT, tables.get("http", {}), environ)
    if isinstance(port, str) and _PORT.fullmatch(port):
        port = int(port)
    if type(port) is not int or not 0 <= port <= MAX_PORT:
        return None
    return Address(host, port) if isinstance(host, str) and host else None


def _written(key: str, default: object, table: Any, environ: Mapping[str, str]) -> object:
    """The variable, else what is in the file, else the default; None where it is in doubt."""
    value = environ.get(f"{PREFIX}HTTP__{key.upper()}", "").strip()
    if value:
        return value
    if not isinstance(table, dict) or not all(name.islower() for name in table):
        return None
    value = table.get(key, default)
    return value.strip() if isinstance(value, str) else value


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the file of settings {path} (--config or {CONFIG_VARIABLE}) can't be read "
            f"({error.strerror}): name a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of settings {path} is not TOML: {error}") from error

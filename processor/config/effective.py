"""The values in force: what each setting is, and where it was written. Secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from processor.config.load import Loaded
from processor.config.schema import known_settings, shown
from processor.config.sources import Found
from processor.config.values import MASK, Options, Secret, Url


class Value(NamedTuple):
    """A setting or an option; `origin`: default, file, variable or secret file, and which."""

    name: str
    value: str
    origin: str


def effective_values(loaded: Loaded) -> Iterator[Value]:
    """In the order of declaration; each option of a library has a line."""
    for name in known_settings():
        section, _, key = name.lower().partition("__")
        value = getattr(getattr(loaded.settings, section), key)
        if isinstance(value, Options) and value:
            yield from _options(name, value, loaded)
        else:
            yield Value(name, _masked(value), _origin(loaded.written.get(name)))


def _options(name: str, options: Options, loaded: Loaded) -> Iterator[Value]:
    whole = loaded.written.get(name)
    alone = {i.option: i for n, i in loaded.written.items() if i.option and n.startswith(name)}
    for option, value in options.items():
        origin = _origin(alone.get(option, whole))
        if option not in alone and isinstance(value, Secret):
            origin = f"secret file, named in {origin}"
        text = MASK if options.is_secret(option) else shown(value)
        yield Value(f"{name} {option}", text, origin)


def _origin(found: Found | None) -> str:
    return "default" if found is None else found.origin


def _masked(value: object) -> str:
    if isinstance(value, Secret):
        return MASK
    return value.masked() if isinstance(value, Url) else shown(value)

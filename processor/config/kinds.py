"""What a setting may hold: how it is read from TOML or from an environment variable.

A kind turns a raw value into a typed one, or raises WrongValueError with what is wrong and what to
write instead. Raw values are what TOML gives, or the text of a variable; lists and maps in a
variable are JSON. No message repeats a value, which may be a secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

_SECRET_OPTION: Final = re.compile(
    r"password|secret|token|credential|jaas|user\.info|oauthbearer\.config|\.pem$|ssl\.key",
    re.IGNORECASE,
)
_USER_INFO: Final = re.compile(r"//[^/@]*@")
MASK: Final = "***"
DECADE_S: Final = 315_360_000.0  # whatever a duration is added to stays a time

Scalar = str | int | float | bool


class Secret(str):
    """Text that its repr doesn't show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Url(str):
    """A URL whose repr doesn't show the user and password in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_USER_INFO.sub(f"//{MASK}@", str(self)))


class Options(dict[str, Scalar]):
    """A library's properties; the repr doesn't show secret ones."""

    def __repr__(self) -> str:
        shown = {k: MASK if _SECRET_OPTION.search(k) else v for k, v in self.items()}
        return repr(shown)


class WrongValueError(ValueError):
    """What is wrong with a raw value, and what to write."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of setting. `name` is for the table of settings; a number has bounds."""

    name: str
    read: Callable[[Any], Any]
    least: float | None = None
    most: float | None = None


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise WrongValueError("is not text: write some, in quotes if this is a file")
    return raw.strip()


def _secret(raw: object) -> Secret:
    return Secret(_text(raw))


def _url(raw: object) -> Url:
    text = _text(raw)
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https", "mock"} or not parts.netloc:
        raise WrongValueError("is not a URL: write http://host:port or https://host")
    return Url(text.rstrip("/"))


def _path(raw: object) -> Path:
    return Path(_text(raw)).expanduser()


def _flag(raw: object) -> bool:
    text = str(raw).strip().lower()
    if text not in {"true", "false"}:
        raise WrongValueError("is neither: write true or false")
    return text == "true"


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise WrongValueError("is not a number")
    try:
        number = float(raw)
    except ValueError:
        raise WrongValueError("is not a number") from None
    if not math.isfinite(number):
        raise WrongValueError("is not a finite number")
    return number


def _json(raw: object, wanted: type, example: str) -> Any:
    value = raw
    if isinstance(raw, str):
        try:
            value = json.loads(raw)
        except ValueError:
            raise WrongValueError(f"is not JSON: write {example}") from None
    if not isinstance(value, wanted):
        raise WrongValueError(f"has the wrong shape: write {example}")
    return value


def _texts(raw: object) -> tuple[str, ...]:
    example = '["one", "two"]'
    items = _json(raw, list, example)
    if not items or not all(isinstance(item, str) and item for item in items):
        raise WrongValueError(f"is not a list of names: write {example}")
    return tuple(items)


def _names(raw: object) -> dict[str, str]:
    example = '{"name": "value"}'
    items = _json(raw, dict, example)
    if not all(isinstance(value, str) and value for value in items.values()):
        raise WrongValueError(f"is not a map of names to names: write {example}")
    return dict(items)


def _options(raw: object) -> Options:
    example = '{"property.name": "value"}'
    flat = Options()
    _flatten("", _json(raw, dict, example), flat)
    return flat


def _flatten(prefix: str, table: Mapping[str, object], into: Options) -> None:
    """In TOML, `a.b = 1` without quotes is a table in a table."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            _flatten(f"{prefix}{name}.", value, into)
        elif isinstance(value, str | int | float | bool):
            into[prefix + name] = value
        else:
            raise WrongValueError(
                f"has a value that is no text, number or truth value: {prefix}{name}"
            )


TEXT: Final = Kind("text", _text)
SECRET: Final = Kind("secret", _secret)
URL: Final = Kind("URL", _url)
PATH: Final = Kind("path", _path)
FLAG: Final = Kind("true or false", _flag)
TEXTS: Final = Kind("list", _texts)
NAMES: Final = Kind("map", _names)
OPTIONS: Final = Kind("map", _options)


def seconds(least: float = 0.001, most: float = DECADE_S) -> Kind:
    """A duration in a range."""

    def read(raw: object) -> float:
        number = _number(raw)
        if number < least:
            raise WrongValueError(f"is too short: write {least:g} or more seconds")
        if number > most:
            raise WrongValueError(f"is too long: write at most {most:.12g} seconds")
        return number

    return Kind("seconds", read, least, most)


def whole(least: int, most: int) -> Kind:
    """A whole number in a range."""

    def read(raw: object) -> int:
        number = _number(raw)
        if number != int(number):
            raise WrongValueError("is not a whole number")
        if not least <= number <= most:
            raise WrongValueError(f"is out of range: write {least} to {most}")
        return int(number)

    return Kind("number", read, least, most)


def one_of(*choices: str) -> Kind:
    """One of a few words, in any case."""

    def read(raw: object) -> str:
        text = _text(raw)
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise WrongValueError(f"is none of {', '.join(choices)}")

    return Kind(" or ".join(choices), read)


def matching(pattern: str, what: str) -> Kind:
    """Text of a shape."""

    def read(raw: object) -> str:
        text = _text(raw)
        if not re.fullmatch(pattern, text):
            raise WrongValueError(f"is malformed: write {what}")
        return text

    return Kind("text", read)

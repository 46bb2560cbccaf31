"""What a setting may hold, beyond pydantic's own types.

Raw values are what TOML gives, or the text of a variable or a secret file; lists and maps in text
are JSON. No message repeats a value, which may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.types import StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MASK: Final = "***"
DECADE_S: Final = 315_360_000.0  # whatever a duration is added to stays a time
LIST_EXAMPLE: Final = '["one", "two"]'
MAP_EXAMPLE: Final = '{"name": "value"}'
OPTIONS_EXAMPLE: Final = '{"property.name": "value"}'
FILE_SUFFIX: Final = "_file"  # of the name of a setting or an option whose value is in a file

_SECRET_OPTION: Final = re.compile(
    r"passw|passphrase|secret|token|credential|jaas|user\.info|oauthbearer\.config|\.pem$|ssl\.key",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(r"0|-?[1-9]\d{0,17}")
_USER_INFO: Final = re.compile(r"//[^/@]*@")

Scalar = str | int | float | bool
JsonSchema = dict[str, Any]


class Wrong(PydanticCustomError):
    """What is wrong with a raw value, and what to write: our own sentence, to be told as it is."""

    def __new__(cls, sentence: str) -> Self:
        return super().__new__(cls, "setting", "{sentence}", {"sentence": sentence})


class SecretFileError(ValueError):
    """Why a file gives no secret, as what a sentence says of the file."""


def read_secret(path: Path) -> Secret:
    """The text of a file without the end of its line. Raises SecretFileError."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"can't be read ({error.strerror})") from None
    except ValueError:
        raise SecretFileError("is not UTF-8 text") from None
    if not text.strip():
        raise SecretFileError("is empty")
    return Secret(text)


def read_named_secret(raw: object) -> tuple[Secret, Path]:
    """What is in the file that a setting names. Raises Wrong. A name that does not look like a
    path is not repeated: it may be the secret itself.
    """
    if not isinstance(raw, str) or not raw.strip():
        raise Wrong("is not text: write the path of a file that holds the value")
    path = Path(raw.strip()).expanduser()
    try:
        return read_secret(path), path
    except SecretFileError as error:
        file = f"the file {path}" if raw.strip().startswith(("/", ".", "~")) else "a file"
        raise Wrong(f"names {file} that {error}; name one that holds the value") from None


class Secret(str):
    """Text that its repr doesn't show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler(Text))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        return handler(schema) | {"format": "password", "writeOnly": True}


class Url(str):
    """A URL whose repr doesn't show the user and password in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.masked())

    def masked(self) -> str:
        """Without the user and password."""
        return _USER_INFO.sub(f"//{MASK}@", str(self))

    @classmethod
    def read(cls, text: str) -> Url:
        """Raises Wrong."""
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https", "mock"} or not parts.netloc:
            raise Wrong("is not a URL: write http://host:port or https://host")
        return cls(text.rstrip("/"))

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls.read, handler(Text))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        return handler(schema) | {"format": "uri"}


class Options(dict[str, Scalar]):
    """A library's properties; the repr doesn't show secret ones."""

    def __repr__(self) -> str:
        shown = {k: MASK if self.is_secret(k) else v for k, v in self.items()}
        return repr(shown)

    def is_secret(self, name: str) -> bool:
        """By its name, or because it came from a file of its own."""
        return isinstance(self[name], Secret) or _SECRET_OPTION.search(name) is not None

    @classmethod
    def read(cls, raw: object) -> Options:
        """A map, or JSON of one. Under the empty name: such a map, over which the other
        properties go. Raises Wrong.
        """
        if not isinstance(raw, Mapping) or "" not in raw:
            return cls._flat(raw)
        over = {name: value for name, value in raw.items() if name}
        return cls({**cls._flat(raw[""]), **over})

    @classmethod
    def _flat(cls, raw: object) -> Options:
        table = from_json(OPTIONS_EXAMPLE)(raw)
        if not isinstance(table, Mapping):
            raise Wrong(f"has the wrong shape: write {OPTIONS_EXAMPLE}")
        flat = cls()
        _flatten("", table, flat)
        for name in [name for name in flat if name.endswith(FILE_SUFFIX)]:
            whole = name.removesuffix(FILE_SUFFIX)
            if whole in flat:
                raise Wrong(f"has both {whole} and {name}; leave one of them out")
            try:
                flat[whole], _ = read_named_secret(flat.pop(name))
            except Wrong as error:
                raise Wrong(f"{name} {error}") from None
        return flat

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.read)

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: object) -> JsonSchema:
        scalar = ["string", "number", "boolean"]
        return {"type": "object", "additionalProperties": {"type": [*scalar, "object"]}}


def option_value(name: str, text: str) -> Scalar:
    """A variable's text as the type that it has in a file: librdkafka takes text for anything,
    other libraries don't. A secret stays text.
    """
    if _SECRET_OPTION.search(name):
        return text
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    return text == "true" if text in ("true", "false") else text


def _flatten(prefix: str, table: Mapping[str, object], into: Options) -> None:
    """In TOML, `a.b = 1` without quotes is a table in a table."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            _flatten(f"{prefix}{name}.", value, into)
        elif isinstance(value, str | int | float | bool):
            into[prefix + name] = value
        else:
            raise Wrong(f"has a value that is no text, number or truth value: {prefix}{name}")


def from_json(example: str) -> Callable[[object], Any]:
    """Reads text as JSON; what is none stays. Raises Wrong."""

    def read(raw: object) -> Any:
        if not isinstance(raw, str):
            return raw
        try:
            return json.loads(raw)
        except ValueError:
            raise Wrong(f"is not JSON: write {example}") from None

    return read


def _number(raw: object) -> object:
    """TOML's true is no 1, and 1e6 in a variable is a number as it is in TOML."""
    if isinstance(raw, bool):
        raise Wrong("is not a number")
    try:
        return float(raw) if isinstance(raw, str) else raw
    except ValueError:
        return raw


def _path(raw: object) -> Path:
    if not isinstance(raw, str) or not raw.strip():
        raise Wrong("is not text: write a path, in quotes if this is a file")
    return Path(raw.strip()).expanduser()


def _flag(raw: object) -> object:
    return {"true": True, "false": False}.get(str(raw).strip().lower(), raw)


@dataclass(frozen=True, slots=True)
class Shape:
    """Text of a shape; `what` says which. The pattern is of the whole text."""

    pattern: str
    what: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _read(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong(f"is malformed: write {self.what}")
        return text


class _AnyCase:
    """One of a few words, in any case."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        words = {word.lower(): word for word in get_args(source)}

        def read(raw: object) -> object:
            return words.get(str(raw).strip().lower(), raw)

        return core_schema.no_info_before_validator_function(read, handler(source))


ANY_CASE: Final = _AnyCase()
NUMBER: Final = BeforeValidator(_number)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, Field(min_length=1)]
File = Annotated[Path, BeforeValidator(_path)]
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(from_json(LIST_EXAMPLE))]
NameMap = Annotated[dict[str, Name], BeforeValidator(from_json(MAP_EXAMPLE))]
Seconds = Annotated[float, Field(ge=0.001, le=DECADE_S), NUMBER]
SecondsOrZero = Annotated[float, Field(ge=0, le=DECADE_S), NUMBER]

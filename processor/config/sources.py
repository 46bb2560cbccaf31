"""Raw settings, by name, from where they were written: a file, secret files, the environment."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from processor.config.listening import CONFIG_VARIABLE, PREFIX, read_tables
from processor.config.schema import is_options, known_settings, may_be_secret
from processor.config.settings import Settings
from processor.config.values import (
    FILE_SUFFIX,
    SecretFileError,
    Wrong,
    option_value,
    read_named_secret,
    read_secret,
)

SECRETS_VARIABLE: Final = "PROCESSOR_SECRETS_DIR"
_OPTIONS: Final = "__OPTIONS"
_IN_A_FILE: Final = FILE_SUFFIX.upper()
# Options that end as the name of a secret file does, and are none.
_OWN_FILES: Final = frozenset(
    f"sasl.oauthbearer.assertion.{name}"
    for name in ("file", "jwt.template.file", "private.key.file")
)
# Kubernetes tells every pod of every Service: PROCESSOR_PORT=tcp://10.0.0.7:9108 and the like.
_SERVICE_LINK: Final = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://")


class Found(NamedTuple):
    """What was written for a setting. `where`: its place, as a user names it; `origin`: the same
    for a table of values; `file`: None for what is not in the file of settings; `option`: the
    librdkafka property, where it is one; `problem`: why there is no value.
    """

    raw: Any
    where: str
    origin: str
    file: Path | None = None
    option: str | None = None
    problem: str | None = None


def place(name: str, file: Path | None) -> str:
    """Where a user writes a setting."""
    section, _, key = name.lower().partition("__")
    return PREFIX + name if file is None else f"{section}.{key} in {file}"


def beside(other: Found) -> str:
    """What is wrong where a value is in two places, of which neither goes before the other."""
    return f"is set beside {other.where}; leave one of them out"


class Source(PydanticBaseSettingsSource):
    """One place where settings are written.

    `found`: by the setting's name; an option that stands alone has a name as in
    KAFKA__OPTIONS__SASL_PASSWORD; what is no setting has the name that was written.
    """

    def __init__(self, file: Path | None = None) -> None:
        super().__init__(Settings)
        self.found: dict[str, Found] = {}
        self._file = file

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - pydantic's signature
        field_name: str,
    ) -> tuple[Any, str, bool]:
        values: dict[str, Any] = {}
        for name, item in self.found.items():
            section, _, key = name.lower().partition("__")
            if section != field_name or item.problem is not None:
                continue
            if item.option is not None:
                values.setdefault("options", {})[item.option] = item.raw
            elif is_options(name):
                values.setdefault("options", {})[""] = item.raw  # single ones go over it
            else:
                values[key] = item.raw
        return values, field_name, False

    def __call__(self) -> dict[str, Any]:
        sections = Settings.model_fields.items()
        return {name: self.get_field_value(field, name)[0] for name, field in sections}

    def has(self, name: str) -> bool:
        """Whether there is a value."""
        return name in self.found and self.found[name].problem is None

    def refuse(self, name: str, problem: str) -> None:
        """There is no value, for a reason: the first that is told."""
        item = self.found[name]
        self.found[name] = item._replace(problem=item.problem or problem)

    def _take(self, name: str, raw: object, where: str) -> None:
        """A setting, or the path of the file that it is in, or neither."""
        whole = name.removesuffix(_IN_A_FILE)
        if name in known_settings():
            self._add(name, self._item(raw, where))
        elif whole != name and whole in known_settings() and may_be_secret(whole):
            self._add(whole, self._secret(raw, where))
        else:
            self._add(name, self._item(None, where, problem=self._unknown(name)))

    def _item(self, raw: object, where: str, problem: str | None = None) -> Found:
        origin = f"variable {where}" if self._file is None else f"file {self._file}"
        return Found(raw, where, origin, self._file, problem=problem)

    def _secret(self, raw: object, where: str) -> Found:
        try:
            secret, path = read_named_secret(raw)
        except Wrong as error:
            return self._item(None, where, problem=str(error))
        return self._item(secret, where)._replace(origin=f"secret file {path}, named by {where}")

    def _add(self, name: str, item: Found) -> None:
        other = self.found.get(name)
        self.found[name] = item
        if other is not None:
            self.refuse(name, beside(other))

    def _unknown(self, name: str) -> str:
        known = list(known_settings())
        known += [each + _IN_A_FILE for each in known if may_be_secret(each)]
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.6):
            return f"is not a setting; did you mean {place(close[0], self._file).split(' ')[0]}?"
        return "is not a setting; `processor settings` lists them"


class Variables(Source):
    """Every variable with our prefix. An empty one counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        for variable, value in environ.items():
            name = variable.removeprefix(PREFIX)
            ours = variable.startswith(PREFIX) and variable not in (
                CONFIG_VARIABLE,
                SECRETS_VARIABLE,
            )
            if not ours or _is_service_link(name, value):
                continue
            if name != name.upper():
                meant = f"is not a setting; did you mean {variable.upper()}?"
                self._add(name, self._item(None, variable, problem=meant))
            elif value.strip():
                self._read(name, value, variable)

    def _read(self, name: str, value: str, variable: str) -> None:
        if (split := split_option(name)) is None:
            self._take(name, value, variable)
            return
        whole, option, in_a_file = split
        if in_a_file:
            item = self._secret(value, variable)
        else:
            item = self._item(option_value(option, value), variable)
        self._add(whole, item._replace(option=option))


def _is_service_link(name: str, value: str) -> bool:
    if "__" in name or not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("PORT") or "SERVICE" in name or bool(_SERVICE_URL.match(value))


def split_option(name: str) -> tuple[str, str, bool] | None:
    """KAFKA__OPTIONS__SASL_PASSWORD_FILE -> KAFKA__OPTIONS__SASL_PASSWORD, sasl.password, and that
    it is in a file. In a name `_` is a dot and `__` an underscore. None: it is no option.
    """
    options, _, rest = name.partition(_OPTIONS + "__")
    if not rest or not is_options(options + _OPTIONS):
        return None
    option = _dotted(rest)
    if not rest.endswith(_IN_A_FILE) or option in _OWN_FILES:
        return name, option, False
    return name.removesuffix(_IN_A_FILE), _dotted(rest.removesuffix(_IN_A_FILE)), True


def _dotted(text: str) -> str:
    return "_".join(part.replace("_", ".") for part in text.lower().split("__"))


class SecretsDirectory(Source):
    """Files with a setting's name, in lower or upper case, that hold its value. What has no
    section's name in front is somebody else's.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        try:
            files = sorted(path for path in directory.iterdir() if path.is_file())
        except OSError as error:
            problem = f"names {directory}, which can't be read ({error.strerror}): name a directory"
            self._add(SECRETS_VARIABLE, self._item(None, SECRETS_VARIABLE, problem=problem))
            return
        for path in files:
            name = path.name.upper().removeprefix(PREFIX)
            section, separator, _ = name.lower().partition("__")
            if separator and section in Settings.model_fields:
                self._read(name, path)

    def _read(self, name: str, path: Path) -> None:
        where = str(path)
        split = split_option(name)
        item = Found(None, where, f"secret file {path}", option=split[1] if split else None)
        if split or (name in known_settings() and may_be_secret(name)):
            try:
                item = item._replace(raw=read_secret(path))
            except SecretFileError as error:
                item = item._replace(problem=f"{error}: write the value into it")
        elif name + _IN_A_FILE in known_settings():
            name += _IN_A_FILE
            item = item._replace(raw=where)
        else:
            item = item._replace(problem=self._unknown(name))
        self._add(name, item)


class TomlFile(Source):
    """Every key of every table of a TOML file. Raises ConfigError when it is none: whatever else
    is missing may be in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for section, table in read_tables(path).items():
            if isinstance(table, dict):
                for key, raw in table.items():
                    name = f"{section}__{key}".upper()
                    self._take(name, raw, f"{section}.{key} in {path}")
            else:
                name, where = section.upper(), f"{section} in {path}"
                self._add(name, self._item(None, where, problem=self._unknown(name)))

"""The JSON Schema of a file of settings, and the table that is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from processor.config.settings import Settings
from processor.config.values import JsonSchema

_FORMATS: Final = {"password": "secret", "path": "path", "uri": "URL"}
_TYPES: Final = {
    "array": "list",
    "boolean": "true or false",
    "integer": "number",
    "number": "seconds",
    "object": "map",
}


class SettingInfo(NamedTuple):
    """A row of the table of settings."""

    name: str
    type: str
    default: str
    help: str


class _OfToml(GenerateJsonSchema):
    """TOML has no null: what is not set is not there."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchema:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchema:
        found = super().default_schema(schema)
        if found.get("default") in (None, ""):
            found.pop("default", None)
        return found

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's
        return False


@cache
def _schema() -> JsonSchema:
    return Settings.model_json_schema(schema_generator=_OfToml)


def _sections(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    """The name of each section, and what it may hold."""
    for section, entry in schema["properties"].items():
        yield section, schema["$defs"][entry["$ref"].rpartition("/")[2]]["properties"]


@cache
def known_settings() -> Mapping[str, JsonSchema]:
    """KAFKA__BOOTSTRAP_SERVERS and so on -> what it may hold, in the order of declaration."""
    return {
        f"{section}__{key}".upper(): entry
        for section, entries in _sections(_schema())
        for key, entry in entries.items()
    }


def is_options(name: str) -> bool:
    """Whether a setting is a map of a library's properties."""
    return name in known_settings() and name.endswith("__OPTIONS")


def may_be_secret(name: str) -> bool:
    """Whether a setting is a secret, or can hold one."""
    return is_options(name) or known_settings()[name].get("format") in ("password", "uri")


def describe_settings() -> list[SettingInfo]:
    """For the reference of settings and for `processor settings`."""
    return [
        SettingInfo(name, _type(entry), shown(entry.get("default")), entry["description"])
        for name, entry in known_settings().items()
    ]


def _type(entry: JsonSchema) -> str:
    if "enum" in entry:
        return " or ".join(entry["enum"])
    return _TYPES.get(entry["type"]) or _FORMATS.get(entry.get("format", ""), "text")


def shown(value: object) -> str:
    """A value in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def file_schema() -> JsonSchema:
    """The JSON Schema of a TOML file of settings."""
    whole: JsonSchema = json.loads(json.dumps(_schema()))
    for section, entries in _sections(whole):
        for key in list(entries):
            if may_be_secret(f"{section}__{key}".upper()):
                entries[f"{key}_file"] = {
                    "type": "string",
                    "format": "path",
                    "description": f"the path of a file that holds the value of {key}",
                }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": "Settings of the SMS status processor",
        "description": "A TOML file, named by --config or PROCESSOR_CONFIG.",
    }

"""The Avro schemas that come with the package, from a wheel or from a checkout."""

from importlib.resources import files
from pathlib import Path


def schema_text(name: str) -> str:
    """The text of `schemas/<name>`, for instance `delivery_event.avsc`.

    An installed wheel holds the schemas inside the package; an editable checkout has them
    beside it. Raises FileNotFoundError where neither has the name.
    """
    packaged = files("processor") / "schemas" / name
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "schemas" / name).read_text(encoding="utf-8")

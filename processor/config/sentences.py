"""What is wrong with a value, in our words: pydantic's error -> a sentence with what to write.

No sentence repeats the value, which may be a secret.
"""

from __future__ import annotations

from typing import Final

from pydantic_core import ErrorDetails

from processor.config.values import LIST_EXAMPLE, MAP_EXAMPLE, JsonSchema

_SENTENCES: Final = {
    "bool_type": "is not a truth value: write true or false",
    "finite_number": "is not a finite number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "int_from_float": "is not a whole number",
    "int_parsing": "is not a number",
    "int_type": "is not a number",
    "string_too_short": "is empty: write some text",
    "string_type": "is not text: write some, in quotes if this is a file",
}
_DEPTH: Final = 2  # section and setting; what is deeper is an item of a list or a map


def sentence(error: ErrorDetails, entry: JsonSchema) -> str:
    """`entry`: the schema of the setting."""
    kind = error["type"]
    if kind == "setting":
        return error["msg"]
    if entry["type"] in ("array", "object"):
        return _of_many(error, is_list=entry["type"] == "array")
    match kind, entry["type"]:
        case "literal_error", _:
            return f"is none of {', '.join(entry['enum'])}"
        case "greater_than_equal", "number":
            return f"is too short: write {entry['minimum']:g} or more seconds"
        case "less_than_equal", "number":
            return f"is too long: write at most {entry['maximum']:.12g} seconds"
        case _, "integer" if kind not in _SENTENCES:
            return f"is out of range: write {entry['minimum']} to {entry['maximum']}"
    return _SENTENCES[kind]


def _of_many(error: ErrorDetails, *, is_list: bool) -> str:
    example = LIST_EXAMPLE if is_list else MAP_EXAMPLE
    if len(error["loc"]) == _DEPTH and error["type"] != "too_short":
        return f"has the wrong shape: write {example}"
    return f"is not a {'list of names' if is_list else 'map of names to names'}: write {example}"

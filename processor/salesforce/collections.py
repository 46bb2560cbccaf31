"""Requests of the sObject Collections and Composite resources, and how to read their answers.

Pure. Sources: "Update Multiple Records with Fewer Round-Trips", "Send Multiple Requests Using
Composite" and "Get Records Using sObject Collections" of the REST API Developer Guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any, Final, NamedTuple

from processor.salesforce.wire import HTTP_OK, NOT_JSON, Answer, Call, CallKind, clean_code

MAX_ROWS_PER_REQUEST: Final = 200  # records in one update of sObject Collections
MAX_PARTS_PER_COMPOSITE: Final = 5  # sObject Collections subrequests in one Composite request
MAX_IDS_PER_RETRIEVE: Final = 2_000  # ids in one retrieve of sObject Collections

TASK_PREFIX: Final = "00T"
ID_LENGTH: Final = 15  # characters, case-sensitive; the other form has a checksum of 3 more
ID_LENGTH_WITH_CHECKSUM: Final = 18
_CHECKSUM_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_CAPITALS: Final = str.maketrans(
    dict.fromkeys(ascii_uppercase, "1") | dict.fromkeys(ascii_lowercase + digits, "0")
)
_CHECKSUM_OF: Final = {
    f"{bits:05b}"[::-1]: character for bits, character in enumerate(_CHECKSUM_ALPHABET)
}
_NO_CODE: Final = "NO_ERROR_CODE"

# Assignment rules are not for Tasks today; the header makes sure that no later release moves one.
WRITE_HEADERS: Final = {"Sforce-Auto-Assign": "FALSE"}


class Row(NamedTuple):
    """A Task, by its 18-character Id, and the values it is to have. Values that many rows share
    as one object are put into words once.
    """

    task_id: str
    values: Mapping[str, object]


def task_id_18(raw: str) -> str | None:
    """The 18-character form of an Id, in which equal Ids are equal strings; None: malformed."""
    if len(raw) not in (ID_LENGTH, ID_LENGTH_WITH_CHECKSUM) or not raw.startswith(TASK_PREFIX):
        return None
    if not (raw.isascii() and raw.isalnum()):
        return None
    checksum = id_checksum(raw)
    if len(raw) == ID_LENGTH:
        return raw + checksum
    return raw if raw.endswith(checksum) else None


def id_checksum(task_id: str) -> str:
    """Three characters, of which each tells which of five of the first 15 are capitals."""
    marks = task_id.translate(_CAPITALS)
    return _CHECKSUM_OF[marks[:5]] + _CHECKSUM_OF[marks[5:10]] + _CHECKSUM_OF[marks[10:15]]


def parts_of(rows: Sequence[Row], rows_per_part: int) -> list[Sequence[Row]]:
    """Cut rows into the parts of one call."""
    if not 1 <= rows_per_part <= MAX_ROWS_PER_REQUEST:
        raise ValueError(f"{rows_per_part} rows in a part")
    return [rows[start : start + rows_per_part] for start in range(0, len(rows), rows_per_part)]


def update_call(parts: Sequence[Sequence[Row]], api_version: str) -> Call:
    """One call that updates all rows: a Collections PATCH, or a Composite of several."""
    if len(parts) == 1:
        path = "composite/sobjects"
        return Call(CallKind.COLLECTIONS, "PATCH", path, _update_body(parts[0]).encode("ascii"))
    if not 1 < len(parts) <= MAX_PARTS_PER_COMPOSITE:
        raise ValueError(f"{len(parts)} parts in a call")
    subrequests = []
    for index, part in enumerate(parts):
        head = {
            "method": "PATCH",
            "url": f"/services/data/v{api_version}/composite/sobjects",
            "referenceId": _reference(index),
            # A subrequest inherits only Accept, Authorization and Content-Type.
            "httpHeaders": WRITE_HEADERS,
        }
        subrequests.append(f'{_json(head)[:-1]},"body":{_update_body(part)}}}')
    # allOrNone false: a part that fails takes no other with it.
    body = f'{{"allOrNone":false,"compositeRequest":[{",".join(subrequests)}]}}'
    return Call(CallKind.COMPOSITE, "POST", "composite", body.encode("ascii"))


def retrieve_call(task_ids: Sequence[str], fields: Sequence[str]) -> Call:
    """Read fields of many Tasks. A POST, because so many Ids don't fit into a URL."""
    if not 1 <= len(task_ids) <= MAX_IDS_PER_RETRIEVE:
        raise ValueError(f"{len(task_ids)} ids in a retrieve")
    body = _json({"ids": list(task_ids), "fields": list(fields)})
    return Call(CallKind.RETRIEVE, "POST", "composite/sobjects/Task", body.encode("ascii"))


def describe_call() -> Call:
    """Ask what the fields of a Task are."""
    return Call(CallKind.DESCRIBE, "GET", "sobjects/Task/describe")


def read_parts(answer: Answer, count: int) -> list[Answer] | None:
    """The answers of a Composite's subrequests, in order; None where it can't be read.

    They are found by their reference, so that nothing hangs on the order of the list.
    """
    if answer.status != HTTP_OK or not isinstance(answer.body, dict):
        return None
    listed = answer.body.get("compositeResponse")
    if not isinstance(listed, list):
        return None
    found: dict[str, Answer] = {}
    for part in listed:
        if not isinstance(part, dict) or not isinstance(part.get("httpStatusCode"), int):
            return None
        body = part.get("body", NOT_JSON)
        reference = str(part.get("referenceId"))
        found[reference] = Answer(part["httpStatusCode"], body, answer.generation)
    missing = Answer(HTTP_OK, NOT_JSON, answer.generation)
    return [found.get(_reference(index), missing) for index in range(count)]


def read_rows(answer: Answer, rows: Sequence[Row]) -> list[str | None] | None:
    """The error codes of the rows of a Collections update, which are positional; None for a row
    that was written.

    None in all where the body does not fit the request: then nobody knows what was written. A
    row that failed has no `id` in some answers; where there is one it must be the one that was
    sent.
    """
    if not isinstance(answer.body, list) or len(answer.body) != len(rows):
        return None
    codes: list[str | None] = []
    for (task_id, _), result in zip(rows, answer.body, strict=True):
        if not isinstance(result, dict):
            return None
        named, success = result.get("id"), result.get("success")
        if named != task_id and isinstance(named, str) and named[:ID_LENGTH] != task_id[:ID_LENGTH]:
            return None
        if success is True:
            codes.append(None)
        elif success is False:
            codes.append(_row_code(result.get("errors")))
        else:
            return None
    return codes


def read_records(answer: Answer, count: int) -> list[Mapping[str, object] | None] | None:
    """The records of a retrieve, positional, field names in lower case; a Task that is not there
    (or not to be seen by us) is None. None in all where the body can't be read.
    """
    if not isinstance(answer.body, list) or len(answer.body) != count:
        return None
    records: list[Mapping[str, object] | None] = []
    for record in answer.body:
        if record is None:
            records.append(None)
        elif isinstance(record, dict):
            records.append({name.lower(): value for name, value in record.items()})
        else:
            return None
    return records


def _row_code(errors: Any) -> str:
    """The first error's code. In rows the key is `statusCode`, not `errorCode` as elsewhere."""
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return clean_code(errors[0].get("statusCode")) or _NO_CODE
    return _NO_CODE


def _update_body(rows: Sequence[Row]) -> str:
    """JSON, written by hand: an Id needs no escaping, and a code's values are the same for each
    of its rows.
    """
    texts: dict[int, str] = {}
    records: list[str] = []
    for task_id, values in rows:
        text = texts.get(id(values))
        if text is None:
            text = texts[id(values)] = f",{_json(values)[1:]}" if values else "}"
        records.append(f'{{"attributes":{{"type":"Task"}},"id":"{task_id}"{text}')
    return f'{{"allOrNone":false,"records":[{",".join(records)}]}}'


def _reference(index: int) -> str:
    return f"part{index}"


_json: Final = json.JSONEncoder(separators=(",", ":")).encode

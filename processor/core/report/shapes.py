"""MessageMedia's delivery reports as JSON, in each documented shape -> the fields of our schema.

| shape | its code | its dates | its metadata |
|---|---|---|---|
| callback | `error_code`, digits | `date_received`, `submitted_date` | map |
| webhook, sample template | `error_code`, digits | the same | map |
| webhook, minimal template | `status`, digits | none | none |
| row of a messaging report | `status_code`, a number | `last_status_update`, ... | list of pairs |
| answer of `GET /v1/delivery_reports` | none: can't be used | as a callback | map |

Sources: MessageMedia API documentation, "Delivery reports", "Webhooks management",
"Messaging reports". A webhook's body is whatever its template makes of it; what is not
needed may be missing or odd.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from processor.core.report.fields import check_account_id, check_code, check_message_id, parse_stamp
from processor.errors import Rejected

_MAX_INT: Final = 2**31 - 1
_HALF: Final = re.compile("[\ud800-\udfff]")
REPLACEMENT: Final = "\ufffd"


def to_avro_report(obj: object) -> dict[str, object]:
    """One report -> a value of `delivery_event.avsc`, times in milliseconds.

    Raises Rejected: `not_a_report`, `no_message_id`, `bad_message_id`, `no_code`, `bad_code`,
    `bad_account_id`, `bad_date` (a date is there and can't be read).
    """
    if not isinstance(obj, Mapping):
        raise Rejected("not_a_report", "a delivery report is a JSON object")
    status = _text(obj.get("status"))
    return {
        "delivery_report_id": _text(obj.get("delivery_report_id")),
        "message_id": check_message_id(_first(obj, "message_id", "id")),
        "status": status,
        "status_code": _code(obj, status),
        "date_received": _date(obj, "date_received", "last_status_update"),
        "submitted_date": _date(obj, "submitted_date", "delivered_timestamp"),
        "source_number": _text(_first(obj, "source_number", "destination_address")),
        "original_text": _text(_first(obj, "original_text", "content")),
        "vendor_account_id": _account(obj),
        "metadata": dict(_pairs(obj.get("metadata"))),
        "delay": _count(obj.get("delay")),
        "billing_units": _count(_first(obj, "billing_units", "units")),
        "callback_url": _text(obj.get("callback_url")),
    }


def _first(obj: Mapping[str, Any], *names: str) -> object:
    return next((obj[name] for name in names if obj.get(name) is not None), None)


def _code(obj: Mapping[str, Any], status: str) -> int:
    """The minimal template puts the code into `status`, where others have a word."""
    digits = status if status.strip().isdigit() else None
    return check_code(obj.get("status_code"), obj.get("error_code"), digits)


def _date(obj: Mapping[str, Any], *names: str) -> int | None:
    raw = _first(obj, *names)
    if raw is None or raw == "":
        return None
    at = parse_stamp(raw)
    if at is None:
        raise Rejected("bad_date", f"{names[0]} is no ISO 8601 date since the year 2000")
    return at


def _account(obj: Mapping[str, Any]) -> dict[str, str]:
    vendor = obj.get("vendor_account_id")
    if isinstance(vendor, Mapping):
        vendor_id, account_id = vendor.get("vendor_id"), vendor.get("account_id")
    else:
        vendor_id, account_id = "", obj.get("account_id")
    if isinstance(account_id, str):
        check_account_id(account_id)
    return {"vendor_id": _text(vendor_id), "account_id": _text(account_id)}


def _pairs(metadata: object) -> Iterator[tuple[str, str]]:
    pairs: list[tuple[object, object]] = []
    if isinstance(metadata, Mapping):
        pairs = list(metadata.items())
    elif isinstance(metadata, list):
        pairs = [
            (item.get("key"), item.get("value")) for item in metadata if isinstance(item, dict)
        ]
    for key, value in pairs:
        if isinstance(key, str) and value is not None:
            yield _text(key), _text(value if isinstance(value, str) else json.dumps(value))


def _text(raw: object) -> str:
    """A text that nothing depends on: half a character, as texts cut short end with, becomes a
    replacement character, because Avro has no room for it.
    """
    if isinstance(raw, str):
        return _HALF.sub(REPLACEMENT, raw)
    return str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else ""


def _count(raw: object) -> int:
    """A number that nothing depends on: 0 where it is none."""
    try:
        number = int(raw) if isinstance(raw, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
    return number if 0 <= number <= _MAX_INT else 0

"""A decoded delivery report, whatever its producer's schema -> the event that it means.

The rules (which field is the code, which stamp orders the events, what makes a report
unusable) are `event_of`, read from top to bottom. The Avro edge has a shortcut for the shape that
nearly every report has, and a law that holds the two equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from processor.core.codes import parse_code
from processor.core.events import DeliveryEvent
from processor.errors import Rejected

MESSAGE_ID: Final = "message_id"
METADATA: Final = "metadata"
VENDOR_ACCOUNT: Final = "vendor_account_id"
ACCOUNT_ID: Final = "account_id"
CODE_FIELDS: Final = ("status_code", "error_code")
"""Where a report has its code, the first that is set. Callbacks call it `error_code`."""

# Of the texts that a message's state is made of, in UTF-8: whatever keeps a state has room for
# these, and a state that nothing can keep would stop its partition for good.
MAX_MESSAGE_ID_BYTES: Final = 255
MAX_TASK_ID_BYTES: Final = 255  # Salesforce's have 18; the writing stage judges the short ones
MAX_ACCOUNT_ID_BYTES: Final = 255
EARLIEST_STAMP: Final = 946_684_800_000  # the year 2000: before it, a clock was not set
NO_TIME: Final = -1

MAX_ID_BYTES: Final = min(MAX_MESSAGE_ID_BYTES, MAX_TASK_ID_BYTES, MAX_ACCOUNT_ID_BYTES)
_ISO_8601: Final = re.compile(r"\d{4}-\d\d-\d\d|(\d{4}-\d\d-\d\d|\d{8})[T ]\S+")
"""Digits alone are no date: there are too many ways to read them."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class ReportRules(NamedTuple):
    """Which fields to read. `time_fields`: the first that holds a usable stamp orders the event.
    `task_id_key`: the metadata key under which the sender put the Task's id.
    """

    time_fields: tuple[str, ...]
    task_id_key: str

    def fields(self) -> frozenset[str]:
        """Every field of a report that is looked at."""
        return frozenset((MESSAGE_ID, METADATA, VENDOR_ACCOUNT, *CODE_FIELDS, *self.time_fields))


@dataclass(slots=True)
class Oddities:
    """How often something was odd about events that were usable all the same.

    `stamps_unusable`: stamps that can't be parsed or lie before the year 2000.
    `stamps_missing`: events without any usable stamp, ordered by the record's timestamp.
    `stamps_future`: events whose stamp was later than the record's timestamp, which replaced it.
    `record_times_unusable`: records with a timestamp from before the year 2000.
    `keys_not_message_id`: events, of the few that are looked at, whose record has another key.
    `keys_elsewhere`: of the same few, those in another partition than their key belongs to.
    """

    stamps_unusable: int = 0
    stamps_missing: int = 0
    stamps_future: int = 0
    keys_not_message_id: int = 0
    keys_elsewhere: int = 0
    record_times_unusable: int = 0

    def take(self) -> Oddities:
        """What was counted since this was called last."""
        taken = replace(self)
        for item in fields(self):
            setattr(self, item.name, 0)
        return taken


def event_of(
    report: Any,
    record_time: int,
    rules: ReportRules,
    stats: Oddities,
    units: Mapping[str, int] = MappingProxyType({}),
) -> DeliveryEvent:
    """The event that a decoded report means, in a record of that time (ms).

    A record time before the year 2000 is none: a clock that was not set, or one that counts
    seconds. `units`: for fields whose integers are finer than milliseconds, how many make one.
    Raises Rejected.
    """
    if not isinstance(report, Mapping):
        raise Rejected("undecodable", "not a record")
    message_id = check_message_id(report.get(MESSAGE_ID))
    code = check_code(*(report.get(name) for name in CODE_FIELDS))
    task_id = check_task_id(_look_up(report.get(METADATA), rules.task_id_key))
    account_id = check_account_id(_look_up(report.get(VENDOR_ACCOUNT), ACCOUNT_ID))
    if record_time < EARLIEST_STAMP:
        stats.record_times_unusable += record_time >= 0
        record_time = NO_TIME
    stamp = _stamp_of(report, rules, stats, units)
    if stamp is None:
        stats.stamps_missing += 1
        stamp = record_time
    elif record_time != NO_TIME and record_time < stamp:
        stats.stamps_future += 1
        stamp = record_time
    if stamp == NO_TIME:
        raise Rejected("no_time", "neither the report nor its record has a timestamp since 2000")
    return DeliveryEvent(message_id, code, stamp, record_time, task_id, account_id)


def check_message_id(raw: object) -> str:
    """A message id as it is. Raises Rejected: `no_message_id` where it is absent, null or empty,
    `bad_message_id` where it is no text or longer than 255 bytes.
    """
    if raw is None or raw == "":
        raise Rejected("no_message_id")
    if not isinstance(raw, str):
        raise Rejected("bad_message_id", f"{type(raw).__name__} is not a message id")
    _check_size(raw, MAX_MESSAGE_ID_BYTES, "bad_message_id")
    return raw


def check_task_id(raw: object) -> str | None:
    """A Task's id without the spaces around it; None where there is none, or it is no text.
    Raises Rejected (`bad_task_id`) for one that no state could hold; whether a shorter one is a
    Task's is for the writing stage to say.
    """
    return _checked(raw, MAX_TASK_ID_BYTES, "bad_task_id")


def check_account_id(raw: object) -> str | None:
    """As `check_task_id`. Raises Rejected: `bad_account_id`."""
    return _checked(raw, MAX_ACCOUNT_ID_BYTES, "bad_account_id")


def _checked(raw: object, limit: int, reason: str) -> str | None:
    text = raw.strip() if isinstance(raw, str) else ""
    _check_size(text, limit, reason)
    return text or None


def _check_size(text: str, limit: int, reason: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Rejected(reason, "not valid Unicode") from None
    if size > limit:
        raise Rejected(reason, f"longer than {limit} bytes")


def check_code(*candidates: object) -> int:
    """The first candidate that is set (neither null nor blank), as a code. Raises Rejected:
    `no_code` where none is, `bad_code` where it has no category.
    """
    for raw in candidates:
        if raw is not None and not (isinstance(raw, str) and not raw.strip()):
            return parse_code(raw)
    raise Rejected("no_code")


def parse_stamp(raw: object, unit: int = 1) -> int | None:
    """An instant in any form that reports use -> milliseconds since 1970, UTC, cut, not rounded.

    An integer counts milliseconds, or finer ones: `unit` of them make a millisecond. A text is
    ISO 8601, date and time apart by `T` or a space; without a zone it is UTC. None: can't be
    read, or lies before the year 2000.
    """
    if isinstance(raw, str):
        at = _parse_iso(raw)
    elif isinstance(raw, int) and not isinstance(raw, bool):
        at = raw // unit
    else:
        return None
    return at if at is not None and at >= EARLIEST_STAMP else None


def _parse_iso(text: str) -> int | None:
    text = text.strip().upper()
    if _ISO_8601.fullmatch(text) is None:
        return None  # Python would take any character for the one between date and time
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def _stamp_of(
    report: Mapping[str, Any], rules: ReportRules, stats: Oddities, units: Mapping[str, int]
) -> int | None:
    for name in rules.time_fields:
        raw = report.get(name)
        if raw is None:
            continue
        at = parse_stamp(raw, units.get(name, 1))
        if at is not None:
            return at
        stats.stamps_unusable += 1
    return None


def _look_up(pairs: object, key: str) -> object:
    """The value of a key, in a map or in a list of `{key, value}`."""
    if isinstance(pairs, Mapping):
        return pairs.get(key)
    if isinstance(pairs, list):
        for pair in pairs:
            if isinstance(pair, Mapping) and pair.get("key") == key:
                return pair.get("value")
    return None

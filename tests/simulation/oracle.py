"""The rule once more, in another form and from the design's text: it shares no code with `core`.

A message's reports are read as attempts, cut at the last reroute, and ranked in one table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from processor.core.events import DeliveryEvent

PROGRESS: Final = ("1xx", "101 151", "102", "2xx", "200", "210 211 212 213")
"""From the least to the most; an unknown code is worth less than the known ones of its stage."""

CATEGORY: Final = {1: "Processing", 2: "Delivery", 3: "Discarded", 4: "Failed"}

UNDELIVERED: Final = frozenset(
    int(code)
    for code in "301 302 303 304 305 320 330 331 332 333"
    " 400 401 402 403 405 410 411 412 413 414".split()
)


class Truth(NamedTuple):
    """What a Task is to hold in the end."""

    code: int
    category: str
    task_id: str


def truth(reports: Iterable[DeliveryEvent]) -> Truth:
    """All usable reports of one message, in any order -> what Salesforce is to end with."""
    heard = list(reports)
    code = _status([(report.event_time, report.code) for report in heard])
    task_id = max((report.event_time, report.task_id or "") for report in heard)[1]
    return Truth(code, CATEGORY[code // 100], task_id)


def _status(heard: list[tuple[int, int]]) -> int:
    codes = {code for _, code in heard}
    for delivered in (221, 220):
        if delivered in codes:
            return delivered
    reroutes = [at for at, code in heard if code == 102]
    failures = [
        (at, code in UNDELIVERED, code)
        for at, code in heard
        if code >= 300 and all(at > reroute for reroute in reroutes)
    ]
    if failures:
        return max(failures)[2]
    attempt = [
        (_worth(code), at, code)
        for at, code in heard
        if code < 300 and all(at >= reroute for reroute in reroutes)
    ]
    return max(attempt)[2]


def _worth(code: int) -> int:
    for worth, codes in enumerate(PROGRESS):
        if str(code) in codes.split():
            return worth
    return PROGRESS.index(f"{code // 100}xx")

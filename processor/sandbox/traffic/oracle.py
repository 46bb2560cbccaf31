"""What must come out of traffic, worked out without the code that is judged by it.

The collapse rule is written here a second time and in another form: the reports are replayed in
the order of their times, one by one, where the processor looks at the latest time of each code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from processor.sandbox.org.schema import id_18
from processor.sandbox.traffic.generator import Message, Poison, Report, Traffic

_KNOWN: Final = frozenset(
    int(code)
    for code in (
        "101 102 151 200 210 211 212 213 220 221 301 302 303 304 305 320 330 331 332 333"
        " 400 401 402 403 405 410 411 412 413 414"
    ).split()
)
_CATEGORIES: Final = {1: "Processing", 2: "Delivery", 3: "Discarded", 4: "Failed"}
_ARRIVED: Final = frozenset((220, 221))
_REROUTED: Final = 102

REASONS: Final[Mapping[Poison, str]] = {
    Poison.NULL_VALUE: "empty_value",
    Poison.EMPTY_VALUE: "empty_value",
    Poison.BAD_MAGIC: "bad_magic",
    Poison.UNKNOWN_SCHEMA: "unknown_schema",
    Poison.TRUNCATED: "undecodable",
    Poison.NO_MESSAGE_ID: "no_message_id",
    Poison.CODE_NULL: "no_code",
    Poison.CODE_TEXT: "bad_code",
    Poison.CODE_OUT_OF_RANGE: "bad_code",
}
"""The reason that each kind of poison has in the dead-letter topic."""


class Expectation(NamedTuple):
    """One Task (its Id in 18 characters) in the end, and on the way there.

    `path`: the status after each report in the order of arrival, without repetitions. What is
    written to Salesforce must be a selection of it, in this order.
    """

    message_id: str
    task_id: str
    code: int
    category: str
    path: tuple[int, ...]


@dataclass(slots=True)
class Expected:
    """What must come out of some traffic. `dead_letters` is by reason."""

    messages: int = 0
    events: int = 0
    ignored: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    tasks: dict[str, Expectation] = field(default_factory=dict)


def expected(traffic: Traffic) -> Expected:
    """Everything at once, for traffic that ends."""
    result = Expected()
    for message in traffic.lives():
        count(message, result)
    return result


def expectations(traffic: Traffic) -> Iterator[Expectation]:
    """The Tasks only, one after the other, in bounded memory."""
    for message in traffic.lives():
        if (expectation := expect(message)) is not None:
            yield expectation


def count(message: Message, into: Expected) -> None:
    """Add what must come of one message."""
    into.messages += 1
    into.events += len(message.reports)
    for report in message.reports:
        if report.poison is not None:
            into.dead_letters[REASONS[report.poison]] += 1
        elif message.task_id is None:
            into.ignored += 1
    if (expectation := expect(message)) is not None:
        into.tasks[expectation.task_id] = expectation


def expect(message: Message) -> Expectation | None:
    """What must come of a message; None where it has no Task."""
    if message.task_id is None:
        return None
    reports = [(event_time(r), r.event["status_code"]) for r in message.reports if r.poison is None]
    path: list[int] = []
    for arrived in range(1, len(reports) + 1):
        status = replay(reports[:arrived])
        if not path or path[-1] != status:
            path.append(status)
    task_id = id_18(message.task_id[:15])
    return Expectation(message.message_id, task_id, path[-1], category(path[-1]), tuple(path))


def category(code: int) -> str:
    """The category that a code has by its first digit."""
    return _CATEGORIES[code // 100]


def replay(reports: Iterable[tuple[int, int]]) -> int:
    """The status after these (time, code) have happened, in whatever order they are given."""
    status = 0
    for _, code in sorted(reports, key=_turn):
        status = _after(status, code)
    return status


def out_of_place(codes: Sequence[int], path: Sequence[int]) -> list[bool]:
    """For each written code, whether it can't be where it is: none of the path's, at or after the
    place of the one before it, is the same. The same code again is a repetition and fits.
    """
    place = 0
    wrong = []
    for code in codes:
        found = next((at for at in range(place, len(path)) if path[at] == code), None)
        wrong.append(found is None)
        place = place if found is None else found
    return wrong


def _turn(report: tuple[int, int]) -> tuple[int, int, bool, int]:
    """At one time: failures, then the reroute that they cause, then progress."""
    at, code = report
    phase = 0 if _is_failure(code) else 1 if code == _REROUTED else 2
    return at, phase, code in _KNOWN, code


def _after(status: int, code: int) -> int:
    if status in _ARRIVED:
        return max(status, code) if code in _ARRIVED else status
    if code in _ARRIVED or code == _REROUTED or _is_failure(code):
        return code
    if _is_failure(status):
        return status
    return code if _progress(code) >= _progress(status) else status


def _is_failure(code: int) -> bool:
    return code >= 300


def _progress(code: int) -> tuple[int, bool]:
    if code == 0:
        return -1, False
    if code == _REROUTED:
        return 1, True
    if code < 200:
        return 0, code in _KNOWN
    return 3 if code in (210, 211, 212, 213) else 2, code in _KNOWN


def event_time(report: Report) -> int:
    """The gateway's stamp, else the provider's, else none; never after the record's own."""
    event: Mapping[str, Any] = report.event
    for name in ("date_received", "submitted_date"):
        if event[name] is not None:
            return min(int(event[name]), report.timestamp_ms)
    return report.timestamp_ms

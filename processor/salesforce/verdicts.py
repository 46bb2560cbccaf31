"""What each of Salesforce's answers means, in one place, by code.

The codes are in `status_codes.py`, with the table of what each class of them comes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from random import Random
from typing import Final, NamedTuple

from processor.core.settle import Differs, Park, Reject, Retry, Stop, Unknown, Verdict
from processor.errors import Unavailable
from processor.salesforce.status_codes import BY_CODE, Class
from processor.salesforce.wire import HTTP_OK, HTTP_UNAUTHORIZED, Answer, NoAnswer, error_code

# Seconds until a row is handed in again, from - to: drawn at random, so that rows that have met
# once (on a lock) don't meet again. That is the least: the longer a row has been tried, the longer
# it waits (`core/settle.py`).
SOON_S: Final = (2.0, 10.0)  # Salesforce itself waits up to 10 s for a lock
MINUTES_S: Final = (60.0, 180.0)
HELD_S: Final = (720.0, 1_080.0)
PARK_S: Final = 15.0  # a Task that is made after its message was sent

MIN_LOCKED_ROWS: Final = 2
MIN_LOCKED_SHARE: Final = 0.02

MIN_ROWS_TO_BLAME_THE_ORG: Final = 10
"""So many rows in one request, all refused for lack of access, speak of the user's permissions."""

_HTTP_SERVER_ERROR: Final = 500
_HTTP_UNAVAILABLE: Final = 503
_HTTP_REDIRECT: Final = 300
_HTTP_BAD_REQUEST: Final = 400
# Answered by the edge, before any instance has seen the request: not acceptable, no routing (420
# is Salesforce's own), too many requests.
_HTTP_FROM_THE_EDGE: Final = frozenset({406, 420, 429})

MALFORMED_ID: Final = "MALFORMED_ID"
NO_LEASE: Final = "NOT_SENT"


class Pause(Enum):
    """Why the whole org is to be left alone for a while. How long: see `budget.PAUSES_S`."""

    OUTAGE = auto()  # no answer, or one that says so
    MOVED = auto()  # somebody answers who is not (or no longer) our org: only a login tells where
    DAILY_LIMIT = auto()
    CONCURRENT_LIMIT = auto()
    FAULT = auto()  # somebody must act


class OrgUnavailable(Unavailable):
    """A login or a describe that may work later. `pause`: what is to be waited for."""

    def __init__(self, message: str, pause: Pause = Pause.OUTAGE) -> None:
        super().__init__(message)
        self.pause = pause


class Action(Enum):
    """What is to be done with the rows of a whole request."""

    READ = auto()  # the answer has something to say on every row
    RETRY = auto()  # surely not applied
    UNKNOWN = auto()  # maybe applied, maybe yet to be
    SPLIT = auto()  # refused as a whole, perhaps for one row: send the halves
    LOGIN = auto()  # not applied; log in, and send it again
    STOP = auto()  # no row can succeed


class RequestOutcome(NamedTuple):
    """What a whole request came to. `code` is bounded: Salesforce's code, `HTTP_nnn`, or the name
    of a transport error. `smaller`: later requests should have fewer rows.
    """

    action: Action
    code: str
    pause: Pause | None = None
    smaller: bool = False


def judge(reply: Answer | NoAnswer, *, writes: bool, daily_spent: bool) -> RequestOutcome:
    """A whole request's outcome.

    `daily_spent`: the Sforce-Limit-Info of this answer says that the day's allocation is used up;
    the two kinds of REQUEST_LIMIT_EXCEEDED differ in nothing else but a message.
    """
    if isinstance(reply, NoAnswer):
        # What had not begun to leave us can't have arrived. Of the rest nobody knows, and the
        # server may work on it for 10 more minutes.
        lost = Action.UNKNOWN if writes and reply.begun else Action.RETRY
        return RequestOutcome(
            lost, reply.why, Pause.OUTAGE, smaller=reply.timed_out and reply.begun
        )
    if reply.status == HTTP_OK:
        return RequestOutcome(Action.READ, "OK")
    code = error_code(reply)
    kind = BY_CODE.get(code) if code is not None else None
    is_elsewhere = _HTTP_REDIRECT <= reply.status < _HTTP_BAD_REQUEST
    if code is None or kind is None or is_elsewhere or not _has_ended(kind, reply.status):
        return _by_status(reply.status, code, writes=writes)
    return _by_class(kind, code, reply.status, daily_spent=daily_spent)


def unreadable(*, writes: bool) -> RequestOutcome:
    """An answer that says 200 but has no result for each row: anything may have been written."""
    action = Action.UNKNOWN if writes else Action.RETRY
    return RequestOutcome(action, "UNREADABLE_ANSWER", Pause.OUTAGE)


def _has_ended(kind: Class, status: int) -> bool:
    """Whether an error with a code we know says for sure that nothing will be applied any more.

    Below 500 it does. Above, only these do: a lock or a limit of the instance's own, and the
    instance's own 503; 502 is the edge's word, and UNKNOWN_EXCEPTION is nobody's.
    """
    if status < _HTTP_SERVER_ERROR:
        return True
    if kind is Class.DOWN:
        return status == _HTTP_UNAVAILABLE
    return kind in {Class.LOCK, Class.HEAVY, Class.LIMIT}


def _by_class(kind: Class, code: str, status: int, *, daily_spent: bool) -> RequestOutcome:
    """Salesforce's application has answered with a code of its own."""
    match kind:
        case Class.LOCK | Class.HEAVY:
            return RequestOutcome(Action.RETRY, code, smaller=True)
        case Class.AGAIN | Class.CODE | Class.HELD:
            return RequestOutcome(Action.RETRY, code)
        case Class.LIMIT:
            pause = Pause.DAILY_LIMIT if daily_spent else Pause.CONCURRENT_LIMIT
            return RequestOutcome(Action.RETRY, code, pause)
        case Class.DOWN:
            return RequestOutcome(Action.RETRY, code, Pause.OUTAGE)
        case Class.SESSION:
            return RequestOutcome(Action.LOGIN, code)
        case Class.PERMANENT:
            return RequestOutcome(Action.SPLIT, code)
        case Class.MISSING if status == _HTTP_BAD_REQUEST:
            return RequestOutcome(Action.SPLIT, code)
        case _:
            return RequestOutcome(Action.STOP, code, Pause.FAULT)


def _by_status(status: int, code: str | None, *, writes: bool) -> RequestOutcome:
    """No code that we know, perhaps no JSON at all."""
    name = code or f"HTTP_{status}"
    if status == HTTP_UNAUTHORIZED:
        return RequestOutcome(Action.LOGIN, name)
    if status in _HTTP_FROM_THE_EDGE:
        return RequestOutcome(Action.RETRY, name, Pause.OUTAGE)
    if status >= _HTTP_SERVER_ERROR or status < HTTP_OK:
        # 502 is the edge giving up on an instance that may still be working, 500 may be said
        # after some rows were committed, and a 503 of HTML does not tell who says it. Only
        # SERVER_UNAVAILABLE (see `_has_ended`) is the instance's own word that it took nothing.
        action = Action.UNKNOWN if writes else Action.RETRY
        return RequestOutcome(action, name, Pause.OUTAGE)
    if HTTP_OK < status < _HTTP_REDIRECT:
        # Without results for the rows it is like an unreadable answer.
        return RequestOutcome(Action.UNKNOWN if writes else Action.RETRY, name, Pause.OUTAGE)
    if status < _HTTP_BAD_REQUEST:
        # The edge sends us elsewhere. We don't follow: requests would turn the PATCH into a GET,
        # and the token is not for just any host. A new login tells where the org is now.
        return RequestOutcome(Action.RETRY, name, Pause.MOVED)
    if status == _HTTP_BAD_REQUEST and code is not None:
        return RequestOutcome(Action.SPLIT, name)
    if code is None:
        # HTML with 4xx: an instance that the org has left, a proxy in between, a wrong endpoint.
        return RequestOutcome(Action.RETRY, name, Pause.MOVED)
    return RequestOutcome(Action.STOP, name, Pause.FAULT)


class RowOutcome(NamedTuple):
    """What a row's own code came to, and what it says of the org."""

    verdict: Verdict
    pause: Pause | None = None
    login: bool = False


def judge_row(code: str, rng: Random, *, daily_spent: bool = False) -> RowOutcome:
    """A row that failed inside a request that went through."""
    match BY_CODE.get(code):
        case Class.PERMANENT | Class.FIELD | Class.ACCESS:
            return RowOutcome(Reject(code))
        case Class.MISSING:
            return RowOutcome(Park(PARK_S, code))
        case Class.LIMIT:
            pause = Pause.DAILY_LIMIT if daily_spent else Pause.CONCURRENT_LIMIT
            return RowOutcome(_again(code, rng), pause)
        case Class.DOWN:
            return RowOutcome(_again(code, rng), Pause.OUTAGE)
        case Class.DISABLED:
            return RowOutcome(Stop(advice(code)), Pause.FAULT)
        case kind:
            return RowOutcome(_again(code, rng), login=kind is Class.SESSION)


OF_THE_TASK: Final = frozenset({
    "ENTITY_IS_DELETED",
    "ENTITY_IS_ARCHIVED",
    "INVALID_ID_FIELD",
    "MALFORMED_ID",
})  # fmt: skip
"""Refusals of the Task itself, whatever is to be written to it."""


def speaks_for_the_task(verdict: Verdict) -> bool:
    """Whether what became of a row is what would have become of those before it, which would have
    been written to the same Task and then overwritten. Not where this row's values were refused,
    and not where nobody knows: it is written again, and the others were never sent.
    """
    match verdict:
        case Reject(code):
            return code in OF_THE_TASK
        case Unknown() | Differs():
            return False
        case _:
            return True


def fails_alike(codes: Sequence[str | None]) -> bool:
    """Whether all rows of a request failed in the org's code, and maybe for one of them: an
    exception that a trigger does not catch marks all records of the operation with its error
    (Apex Developer Guide, "Trigger Exceptions").
    """
    first = codes[0] if codes else None
    return first is not None and BY_CODE.get(first) is Class.CODE and set(codes) == {first}


def is_crowded(codes: Sequence[str | None]) -> bool:
    """Whether so many rows of a request met a lock that fewer rows at once are the cure. A row or
    two of thousands tell of somebody else's work, and go again by themselves.
    """
    locked = sum(BY_CODE.get(code or "") in {Class.LOCK, Class.HEAVY} for code in codes)
    return locked >= MIN_LOCKED_ROWS and locked >= MIN_LOCKED_SHARE * len(codes)


def blames_the_org(codes: list[str | None]) -> str | None:
    """The code that every row of one request was refused for, where that is no fault of the rows.

    `codes` has one entry per row, None for a row that was written.
    """
    first = codes[0] if codes else None
    if first is None or any(code != first for code in codes):
        return None
    kind = BY_CODE.get(first)
    is_blame = kind is Class.FIELD or (
        kind is Class.ACCESS and len(codes) >= MIN_ROWS_TO_BLAME_THE_ORG
    )
    return first if is_blame else None


def whole_verdict(outcome: RequestOutcome, rng: Random) -> Verdict:
    """The verdict for each row of a request that says nothing about single rows."""
    match outcome.action:
        case Action.UNKNOWN:
            return Unknown(outcome.code)
        case Action.STOP:
            return Stop(advice(outcome.code))
        case Action.SPLIT:
            return Reject(outcome.code)
        case _:
            pass
    return _again(outcome.code, rng, whole=True)


def advice(code: str) -> str:
    """What an admin has to change, to be read by a person."""
    match BY_CODE.get(code):
        case Class.FIELD:
            what = "a mapped field does not exist on Task, or the user may not write it"
        case Class.ACCESS:
            what = (
                "give the integration user edit access to these Tasks; where their owners are"
                " inactive, also the permission 'Update Records with Inactive Owners'"
            )
        case Class.DISABLED:
            what = (
                "the org or the user is shut for the API, or the org has no storage left. Check"
                " that the user is active and has the permission 'API Enabled'"
            )
        case Class.SESSION:
            what = (
                "the login is accepted, but its session is refused by the REST API. Give the app"
                " the OAuth scope 'Manage user data via APIs (api)' and the user the permission"
                " 'API Enabled'; check the IP restrictions and the session security level that"
                " the user's profile demands"
            )
        case Class.MISSING:
            what = "no such resource: the object is hidden from the user, or the API version wrong"
        case _:
            what = "see the REST API's list of error codes; check endpoint, version, permissions"
    return f"{code}: {what}"


def _again(code: str, rng: Random, *, whole: bool = False) -> Retry:
    """When the row is handed in again.

    Where nothing is wrong with it, its age is not held against it. A code that no list has is a
    row's own trouble: it may pass, and if not, the age of the version ends it; not ours to throw
    away at first sight.
    """
    match BY_CODE.get(code):
        case Class.LOCK | Class.HEAVY | Class.AGAIN:
            return Retry(rng.uniform(*SOON_S), code)
        case Class.CODE:
            return Retry(rng.uniform(*MINUTES_S), code)
        case Class.HELD:
            return Retry(rng.uniform(*HELD_S), code)
        case None if not whole:
            return Retry(rng.uniform(*MINUTES_S), code)
        case _:
            return Retry(rng.uniform(*SOON_S), code, whole_org=True)

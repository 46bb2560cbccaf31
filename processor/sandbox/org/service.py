"""One HTTP request from its bytes to its answer: faults, login, session, allocation, resource."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from processor.sandbox.org.auth import OAuthError, TokenDesk
from processor.sandbox.org.faults import Fault, FaultKind, FaultPlan, RequestKind
from processor.sandbox.org.late import LateQueue
from processor.sandbox.org.rest import (
    Answer,
    Rest,
    fault_error,
    find_route,
    limit_exceeded,
    not_for_the_api,
    parse_body,
    session_expired,
    url_not_reset,
)
from processor.sandbox.org.schema import ApiError

TOKEN_PATH: Final = "/services/oauth2/token"
JSON_TYPE: Final = "application/json;charset=UTF-8"
_HTML: Final = (
    b"<html><head><title>Down for Maintenance</title></head>"
    b"<body><h1>We are down for maintenance.</h1></body></html>"
)


class Ending(Enum):
    """What happens on the wire at the end of a request."""

    SENT = auto()
    RESET = auto()
    CUT = auto()


class OldHost(StrEnum):
    """How the host that an org has left answers whoever still goes there."""

    REDIRECT = "redirect"  # 301 to the new one
    FORBIDDEN = "forbidden"  # 403 in plain text
    MISSING = "missing"  # 404 with a page of HTML
    RESET = "reset"  # hangs up
    URL_NOT_RESET = "url_not_reset"  # 400 with Salesforce's code for it


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; the names of headers are lower case."""

    id: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    own_url: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the wire does with a request."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = Ending.SENT


class Allocation:
    """The API calls of the org: how many there were, and how many there may be.

    Salesforce counts over the last 24 hours; here calls come back by the control endpoint only.
    """

    def __init__(self, calls_max: int) -> None:
        self._lock = threading.Lock()
        self.used = 0
        self.calls_max = calls_max

    def spend(self) -> bool:
        """Count one call; False where none is left (a refused call is not counted)."""
        with self._lock:
            if self.used >= self.calls_max:
                return False
            self.used += 1
            return True

    def header(self) -> str:
        """Return the value of Sforce-Limit-Info."""
        return f"api-usage={self.used}/{self.calls_max}"

    def limits(self) -> dict[str, object]:
        """Return the body of the limits resource."""
        remaining = max(0, self.calls_max - self.used)
        return {
            "DailyApiRequests": {"Max": self.calls_max, "Remaining": remaining},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
        }


class Service:
    """Answers requests; one for all connections."""

    def __init__(
        self,
        rest: Rest,
        desk: TokenDesk,
        faults: FaultPlan,
        late: LateQueue,
        allocation: Allocation,
        stopping: threading.Event,
    ) -> None:
        self._rest = rest
        self._desk = desk
        self._faults = faults
        self._late = late
        self._allocation = allocation
        self._stopping = stopping
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.writes_that_may_auto_assign = 0
        self.callers: dict[str, Counter[str]] = {}
        self.old_host = OldHost.REDIRECT

    def next_id(self) -> str:
        """Return the id of a new request, as it stands in the log of writes."""
        return f"req-{next(self._ids)}"

    def handle(self, request: Request) -> Reply:
        """Answer one request, after whatever fault is waiting for it."""
        kind = _kind(request)
        with self._lock:
            self.requests[kind.value] += 1
            self.callers.setdefault(kind.value, Counter())[_caller(request)] += 1
            if request.method == "PATCH" or kind is RequestKind.COMPOSITE:
                may_assign = request.headers.get("sforce-auto-assign", "").upper() != "FALSE"
                self.writes_that_may_auto_assign += may_assign
        fault = self._faults.take(
            kind, lambda: request.target + request.body.decode("utf-8", "replace")
        )
        reply = self._perform(request, kind) if fault is None else self._fail(request, kind, fault)
        with self._lock:
            sent = reply.ending is Ending.SENT
            self.statuses[str(reply.status) if sent else reply.ending.name.lower()] += 1
        return reply

    def _fail(self, request: Request, kind: RequestKind, fault: Fault) -> Reply:
        match fault.kind:
            case FaultKind.SLOW:
                if self._stopping.wait(fault.delay_s):
                    return Reply(0, ending=Ending.RESET)
                return self._perform(request, kind)
            case FaultKind.LATE:
                return self._perform_late(request, kind, fault)
            case FaultKind.RESET_BEFORE:
                return Reply(0, ending=Ending.RESET)
            case FaultKind.RESET_AFTER:
                self._perform(request, kind)
                return Reply(0, ending=Ending.RESET)
            case FaultKind.TRUNCATED:
                reply = self._perform(request, kind)
                return Reply(
                    reply.status, reply.body, reply.content_type, reply.headers, Ending.CUT
                )
            case FaultKind.HTML:
                return Reply(fault.status, _HTML, "text/html; charset=UTF-8")
            case _:
                error = fault_error(fault)
                return self._json(error.status, error.body(), counted=error.status == 403)

    def _perform(self, request: Request, kind: RequestKind) -> Reply:
        if kind is RequestKind.TOKEN:
            return self._login(request)
        return self._refusal(request) or self._execute(request)

    def _perform_late(self, request: Request, kind: RequestKind, fault: Fault) -> Reply:
        """A session that was alive, and a call that was left, when the request came, suffice."""
        refusal = None if kind is RequestKind.TOKEN else self._refusal(request)
        if refusal is not None:
            return refusal
        replies: list[Reply] = []

        def apply() -> None:
            login = kind is RequestKind.TOKEN
            replies.append(self._login(request) if login else self._execute(request))

        ran = self._late.submit(fault.delay_s, apply)
        if not fault.drop:
            ran.wait()
        # Without a reply the server was stopped first: nobody is there to answer.
        return replies[0] if replies and not fault.drop else Reply(0, ending=Ending.RESET)

    def _refusal(self, request: Request) -> Reply | None:
        """Check the session, then take one call from the allocation."""
        access = self._desk.access(request.headers.get("authorization", ""))
        if access is None or not access.for_api:
            error = session_expired() if access is None else not_for_the_api()
            return self._json(error.status, error.body(), counted=False)
        if access.old_host:
            return self._as_old_host(request)
        if not self._allocation.spend():
            error = limit_exceeded()
            return self._json(error.status, error.body())
        return None

    def _as_old_host(self, request: Request) -> Reply:
        match self.old_host:
            case OldHost.REDIRECT:
                moved = {"Location": f"{request.own_url}{request.target}"}
                return Reply(301, _HTML, "text/html; charset=UTF-8", moved)
            case OldHost.FORBIDDEN:
                return Reply(403, b"Forbidden", "text/plain")
            case OldHost.MISSING:
                return Reply(404, _HTML, "text/html; charset=UTF-8")
            case OldHost.RESET:
                return Reply(0, ending=Ending.RESET)
            case OldHost.URL_NOT_RESET:
                error = url_not_reset()
                return self._json(error.status, error.body(), counted=False)

    def _execute(self, request: Request) -> Reply:
        try:
            content_type = request.headers.get("content-type", "")
            body = parse_body(request.method, content_type, request.body)
            answer = self._rest.answer(request.method, request.target, body, request.id)
        except ApiError as error:
            answer = Answer(error.status, error.body())
        return self._json(answer.status, answer.body)

    def _login(self, request: Request) -> Reply:
        if request.method != "POST":
            return self._json(405, {"error": "invalid_request"}, counted=False)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            granted = self._desk.login(
                form, request.headers.get("authorization", ""), request.own_url
            )
        except OAuthError as error:
            return self._json(400, error.body(), counted=False)
        return self._json(200, granted, counted=False)

    def _json(self, status: int, body: object, *, counted: bool = True) -> Reply:
        headers = {"Sforce-Limit-Info": self._allocation.header()} if counted else {}
        payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        return Reply(status, payload, headers=headers)


def _caller(request: Request) -> str:
    """Who says to be calling: `Sforce-Call-Options` and `User-Agent`."""
    options = request.headers.get("sforce-call-options", "-")
    return f"{options} {request.headers.get('user-agent', '-')}"


def _kind(request: Request) -> RequestKind:
    path = urlsplit(request.target).path
    if path == TOKEN_PATH:
        return RequestKind.TOKEN
    try:
        return find_route(request.method, path)[0].kind
    except ApiError:
        return RequestKind.OTHER

"""What goes over the wire and what comes back, without the wire."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

NOT_JSON: Final = object()
"""The body of an answer that no one can read: HTML of an edge server, cut off, or empty."""

HTTP_OK: Final = 200
HTTP_UNAUTHORIZED: Final = 401
HTTP_FORBIDDEN: Final = 403

MAX_CODE_LENGTH: Final = 80  # characters kept of an error code: it becomes a label and a reason
_NOT_IN_A_CODE: Final = re.compile(r"[^A-Za-z0-9_.:-]")


class CallKind(StrEnum):
    """What a request is, for metrics."""

    COLLECTIONS = "collections"
    COMPOSITE = "composite"
    RETRIEVE = "retrieve"
    DESCRIBE = "describe"


class Call(NamedTuple):
    """A request to be made. `path` is below `/services/data/vXX.X/`."""

    kind: CallKind
    method: str
    path: str
    body: bytes = b""

    @property
    def writes(self) -> bool:
        """Whether the request changes Tasks: then a lost answer leaves its outcome unknown."""
        return self.kind in (CallKind.COLLECTIONS, CallKind.COMPOSITE)


class Answer(NamedTuple):
    """An HTTP response. `body` is parsed JSON, or NOT_JSON.

    `generation` is the login under which the request was made, so that of several requests that
    find it expired only one logs in again.
    """

    status: int
    body: object
    generation: int = 0


class NoAnswer(NamedTuple):
    """No response, or not all of it. `begun`: the body had begun to leave us, so the request may
    have been carried out; if not, it surely was not.
    """

    begun: bool
    why: str
    timed_out: bool = False


def error_code(answer: Answer) -> str | None:
    """Salesforce's own code for a whole request that failed: `[{"errorCode": …, "message": …}]`.

    The message is not looked at: it is translated to the language of the user.
    """
    errors = answer.body
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return None
    return clean_code(errors[0].get("errorCode"))


def clean_code(code: object) -> str | None:
    """An error code that is fit for a log, a label and a header, whatever was sent as one."""
    if not isinstance(code, str) or not code:
        return None
    return _NOT_IN_A_CODE.sub("?", code[:MAX_CODE_LENGTH])

"""What the writer tells of itself."""

from __future__ import annotations

from typing import Protocol


class RequestMeter(Protocol):
    """Called from the sending threads: once per request, never per row.

    Labels are bounded: `kind` is a CallKind; `result` of a request is ok, retry, unknown, split,
    login or stop; of rows it is a verdict in lower case; of a login ok, refused or
    unavailable.
    """

    def request(self, kind: str, result: str, seconds: float) -> None: ...
    def rows(self, result: str, count: int) -> None: ...

    def api_usage(self, used: int, limit: int) -> None:
        """The whole org's API calls of the last 24 hours, and how many it may make."""

    def paused(self, until_s: float) -> None:
        """The org is left alone until then (seconds since 1970 UTC); 0: it is not."""

    def login(self, result: str) -> None: ...


class NoMeter:
    """For commands that have nobody to tell."""

    def request(self, kind: str, result: str, seconds: float) -> None: ...
    def rows(self, result: str, count: int) -> None: ...
    def api_usage(self, used: int, limit: int) -> None: ...
    def paused(self, until_s: float) -> None: ...
    def login(self, result: str) -> None: ...

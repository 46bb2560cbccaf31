"""HTTP sessions to one org: with timeouts, to one place, saying who we are and what has left us.

What simple-salesforce and requests leave open, and is closed here: no request has a timeout, a
`.netrc` entry replaces our token, redirects turn a PATCH into a GET, and every host is https.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from processor.salesforce.wire import NOT_JSON, Answer, NoAnswer

MAX_BODY_BYTES: Final = 32 * 1024 * 1024  # describe of a Task with many fields is about 1 MB
CLIENT_NAME: Final = "sms-status-processor"
CLIENT_HEADERS: Final = {
    # Both are shown to the org's admins in its event logs of API usage.
    "Sforce-Call-Options": f"client={CLIENT_NAME}",
    "User-Agent": f"{CLIENT_NAME}/{version(CLIENT_NAME)}",
}
# A piece is waited for until it is full, so it is small: then the limit on the time for all of an
# answer is looked at often enough for any line that is slow but alive.
_READ_BYTES: Final = 1024

Timeouts = tuple[float, float]
"""Seconds to connect, and to wait for the answer (to begin, and then to end)."""

ResponseHook = Callable[..., None]


class _Adapter(HTTPAdapter):
    """No request without a timeout, and none that is silently sent again."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeouts
        return super().send(*args, **kwargs)


class _NoNetrc(AuthBase):
    """An auth that adds nothing: without one, requests looks into ~/.netrc and overrides ours."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Session(requests.Session):
    """One thread's connection. `endpoint_url` takes all its traffic, login and API alike."""

    def __init__(self, endpoint_url: str | None, timeouts: Timeouts, hook: ResponseHook) -> None:
        super().__init__()
        self._endpoint = None if endpoint_url is None else urlsplit(endpoint_url.rstrip("/"))
        self._of_the_environment: dict[tuple[Any, ...], Any] = {}
        self.auth = _NoNetrc()
        self.headers.update(CLIENT_HEADERS)
        self.hooks["response"].append(hook)
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(timeouts))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Put the endpoint in the place of the host, before proxies are looked up for it."""
        if self._endpoint is not None:
            asked = urlsplit(str(request.url))
            path = self._endpoint.path + asked.path
            request.url = urlunsplit(
                (self._endpoint.scheme, self._endpoint.netloc, path, asked.query, "")
            )
        return super().prepare_request(request)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What the environment says of proxies and certificates, asked once for each host: requests
        would look through all of it, twice, with each request, at a sixth of what that costs.
        """
        if proxies or verify is not None or cert is not None:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        key = (*urlsplit(url)[:2], stream)
        said = self._of_the_environment.get(key)
        if said is None:
            said = super().merge_environment_settings(url, proxies, stream, verify, cert)
            self._of_the_environment[key] = said
        return said.copy()


class _Body(io.BytesIO):
    """A body that knows whether any of it has been asked for, to be sent.

    That is when the connection stands and the headers are out: a request whose body was never
    asked for can't have been carried out, whatever the kind of error.
    """

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


def exchange(
    session: Session, method: str, url: str, body: bytes, headers: dict[str, str], limit_s: float
) -> Answer | NoAnswer:
    """Send one request and read all of its answer, which has `limit_s` to come from when it
    begins. Never raises for what the far side or the network does.
    """
    source = _Body(body)
    try:
        with session.request(
            method,
            url,
            data=source if body else None,
            headers=headers,
            allow_redirects=False,
            stream=True,
        ) as response:
            raw = _read(response, time.monotonic() + limit_s)
    except requests.Timeout as error:
        return NoAnswer(source.begun, type(error).__name__, timed_out=True)
    except requests.RequestException as error:
        return NoAnswer(source.begun, type(error).__name__)
    return Answer(response.status_code, parse_json(raw))


def _read(response: requests.Response, until_s: float) -> bytes:
    """The body, bounded: the timeout of requests starts anew with every byte."""
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(_READ_BYTES):
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too long")
        if time.monotonic() > until_s:
            raise requests.ReadTimeout("the answer takes too long")
        parts.append(part)
    return b"".join(parts)


def parse_json(raw: bytes) -> object:
    """The JSON of a body, or NOT_JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return NOT_JSON

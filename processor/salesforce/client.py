"""One org: logging in, and one request at a time and thread.

simple-salesforce makes the login requests (client credentials, JWT bearer). Its request methods
are not used: they log in again without end, raise JSONDecodeError for HTML, lose the API usage
of answers with an error, and keep the host of the first login for ever.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from jwt.exceptions import InvalidKeyError
from simple_salesforce.login import SalesforceLogin

from processor.errors import ConfigError, Unavailable
from processor.salesforce.budget import Budget, parse_limit_info
from processor.salesforce.collections import WRITE_HEADERS, describe_call
from processor.salesforce.fields import Fields, problems, read_describe
from processor.salesforce.meter import NoMeter, RequestMeter
from processor.salesforce.status_codes import BY_CODE, Class
from processor.salesforce.transport import Session, exchange, parse_json
from processor.salesforce.verdicts import (
    Action,
    OrgUnavailable,
    Pause,
    RequestOutcome,
    advice,
    judge,
)
from processor.salesforce.wire import (
    HTTP_FORBIDDEN,
    HTTP_OK,
    HTTP_UNAUTHORIZED,
    Answer,
    Call,
    NoAnswer,
    error_code,
)

log = logging.getLogger(__name__)

# OAuth errors that pass by themselves; every other one needs an admin.
_PASSING_OAUTH_ERRORS: Final = frozenset(
    "rate_limit_exceeded server_error temporarily_unavailable unknown_error".split()
)
_HTTP_PASSING: Final = frozenset({406, 408, 420, 429})
_ORG_ID_CHARACTERS: Final = 15  # the 3 behind them only check the others
_IDENTITY: Final = re.compile(r"/id/(00D[A-Za-z0-9]{12})(?:[A-Z0-9]{3})?/")
_GENERIC_DOMAINS: Final = frozenset({"login", "test"})
_TOKEN: Final = re.compile(r"[!-~]+")
_INSTANCE_URL: Final = re.compile(
    r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII
)
_NO_LOGIN: Final = 0  # the generation of a request that was not made, because there is no login


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to log in: with `consumer_secret` (client credentials), or with `username` and
    `private_key`, the text of a PEM file (JWT bearer). Raises ConfigError for anything else.

    `domain` is the My Domain prefix (`acme.my`). `endpoint_url` takes all traffic, login and API
    (a proxy, a sandbox org, a test); plain http is allowed there. `request_timeout_s` is the time
    to connect and the time to wait for an answer: Salesforce itself works up to 10 minutes, but
    when partitions are revoked what is in flight has to be back before the revoke deadline.
    `expected_org_id`: no other org is written to. (A full-copy sandbox has the Ids of production's
    Tasks, so what is meant for one would be settled in the other.)
    """

    domain: str
    consumer_key: str = field(repr=False)
    consumer_secret: str | None = field(repr=False)
    username: str | None = field(repr=False)
    private_key: str | None = field(repr=False)
    endpoint_url: str | None
    api_version: str
    request_timeout_s: tuple[float, float]
    expected_org_id: str | None

    def __post_init__(self) -> None:
        """Find what simple-salesforce would only stumble on later."""
        with_secret = self.consumer_secret is not None
        with_key = self.username is not None and self.private_key is not None
        if with_secret == with_key:
            raise ConfigError(
                "Salesforce login: set either the consumer secret, or username and private key"
            )
        if with_secret and self.domain in _GENERIC_DOMAINS:
            raise ConfigError(
                f"Salesforce login: client credentials need the org's own domain"
                f" (such as acme.my), not {self.domain!r}"
            )
        if self.private_key is not None:
            # The library that signs would say the same with an exception of its own.
            if "PRIVATE KEY-----" not in self.private_key:
                raise ConfigError("Salesforce login: the private key is not in PEM format")
            if "ENCRYPTED" in self.private_key:
                raise ConfigError("Salesforce login: the private key must not have a passphrase")
        if self.endpoint_url is not None:
            url = urlsplit(self.endpoint_url)
            if url.scheme not in {"http", "https"} or not url.netloc:
                raise ConfigError("Salesforce endpoint_url must be http://host or https://host")


@dataclass(frozen=True, slots=True)
class _Access:
    """What one login gave. Made anew each time: the org may have moved to another host."""

    generation: int
    base_url: str
    token: str = field(repr=False)


class Client:
    """One org. Thread-safe: each request has a session of its own, from a pool."""

    def __init__(self, login: Login, meter: RequestMeter | None = None) -> None:
        self.budget = Budget()
        self._login = login
        self._meter = meter or NoMeter()
        self._access: _Access | None = None
        self._generation = _NO_LOGIN
        self._accepted = _NO_LOGIN
        self._fields: Fields | None = None
        self._login_lock = threading.Lock()
        self._idle_lock = threading.Lock()
        self._idle: list[Session] = []
        self._closed = False
        self._org_id: str | None = None
        self._granted_org: str | None = None  # by the last login

    @property
    def org_id(self) -> str | None:
        """The id of the org that the last login has led to. None: not known yet."""
        return self._org_id

    @property
    def api_version(self) -> str:
        return self._login.api_version

    @property
    def logged_in(self) -> bool:
        return self._access is not None

    @property
    def generation(self) -> int | None:
        """Which login it is that requests are made with now."""
        access = self._access
        return None if access is None else access.generation

    def accepted(self, generation: int) -> None:
        """The org has dealt with a request of this login's."""
        self._accepted = max(self._accepted, generation)

    def is_untried(self, generation: int) -> bool:
        """Whether no request of this login's was ever accepted: if one is refused for its session,
        another login is no help.
        """
        return generation > self._accepted

    def log_in(self, instead_of: int | None = None) -> None:
        """Log in, unless that was done since the login of generation `instead_of` (None: unless
        we are). Raises OrgUnavailable (later) and ConfigError (an admin must act).
        """
        with self._login_lock:
            access = self._access
            if access is not None and access.generation != instead_of:
                return
            self._generation += 1
            # Meanwhile others may go on with the old one: a 401 brings them here, to wait.
            try:
                self._access = self._new_access()
            except (Unavailable, ConfigError) as error:
                self._access = None
                self._meter.login("unavailable" if isinstance(error, Unavailable) else "refused")
                raise
            self._meter.login("ok")

    def send(self, call: Call) -> Answer | NoAnswer:
        """Send one request, once. Must be logged in (else the answer is a 401 of our own)."""
        access = self._access
        if access is None:
            return Answer(HTTP_UNAUTHORIZED, None, _NO_LOGIN)
        headers = {
            "Authorization": f"Bearer {access.token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            **(WRITE_HEADERS if call.writes else {}),
        }
        session = self._take_session()
        reply = exchange(
            session,
            call.method,
            access.base_url + call.path,
            call.body,
            headers,
            self._login.request_timeout_s[1],
        )
        if isinstance(reply, NoAnswer):
            session.close()  # its connection may hold half an answer
            return reply
        self._give_session(session)
        return reply._replace(generation=access.generation)

    def fields(self) -> Fields:
        """The fields of a Task, described once. Logs in if need be. Raises OrgUnavailable and
        ConfigError.
        """
        known = self._fields
        if known is not None:
            return known
        self.log_in()
        reply = self.send(describe_call())
        outcome = self._judge(reply)
        if isinstance(reply, Answer) and outcome.action is Action.LOGIN:
            self.log_in(instead_of=reply.generation)
            reply = self.send(describe_call())
            outcome = self._judge(reply)
        refused = f"describe of Task was refused: {advice(outcome.code)}"
        if outcome.action is Action.LOGIN:  # twice: sessions may just have been ended by an admin
            raise OrgUnavailable(refused, Pause.FAULT)
        if outcome.action in {Action.STOP, Action.SPLIT}:
            raise ConfigError(refused)
        if not isinstance(reply, Answer) or outcome.action is not Action.READ:
            raise self._unavailable(outcome)
        described = read_describe(reply.body)
        if described is None:
            raise OrgUnavailable(
                "describe of Task is answered with something that does not describe an object."
                " Should it stay so, check PROCESSOR_SALESFORCE__ENDPOINT_URL"
            )
        self.accepted(reply.generation)
        self._fields = described
        return described

    def _judge(self, reply: Answer | NoAnswer) -> RequestOutcome:
        return judge(reply, writes=False, daily_spent=self.budget.daily_spent)

    def _unavailable(self, outcome: RequestOutcome) -> OrgUnavailable:
        usage = self.budget.usage
        spent = ""
        if outcome.pause is Pause.DAILY_LIMIT and usage is not None:
            spent = f" ({usage.used} of {usage.limit} API calls of the last 24 hours are used)"
        pause = outcome.pause or Pause.OUTAGE
        return OrgUnavailable(f"describe of Task failed: {outcome.code}{spent}", pause)

    def forget_fields(self) -> None:
        """Describe anew before the next write: an admin may have changed a field's type."""
        self._fields = None

    def check_fields(self, mapping: Mapping[str, str]) -> list[str]:
        """Why a mapping of field -> attribute can't work; empty: it can. Raises as `fields`."""
        return problems(mapping, self.fields())

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        with self._idle_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    # -- sessions ----------------------------------------------------------------------------

    def _take_session(self) -> Session:
        # requests does not document its Session as thread-safe, so no two threads share one.
        with self._idle_lock:
            if self._idle:
                return self._idle.pop()
        return self._new_session()

    def _give_session(self, session: Session) -> None:
        with self._idle_lock:
            if not self._closed:
                self._idle.append(session)
                return
        session.close()

    def _new_session(self) -> Session:
        return Session(self._login.endpoint_url, self._login.request_timeout_s, self._seen)

    def _seen(self, response: requests.Response, **_: Any) -> None:
        usage = parse_limit_info(response.headers.get("Sforce-Limit-Info"))
        self.budget.seen(usage, refused=response.status_code == HTTP_FORBIDDEN)
        if usage is not None:
            self._meter.api_usage(*usage)

    # -- login -------------------------------------------------------------------------------

    def _learn_org(self, response: requests.Response, **_: Any) -> None:
        """simple-salesforce drops the identity URL, `https://host/id/ORG/USER`."""
        granted = parse_json(response.content)
        identity = granted.get("id") if isinstance(granted, dict) else None
        found = _IDENTITY.search(identity) if isinstance(identity, str) else None
        self._granted_org = None if found is None else found[1]
        self._org_id = self._granted_org or self._org_id

    def _check_org(self, expected: str | None) -> None:
        if expected is not None and expected[:_ORG_ID_CHARACTERS] != self._granted_org:
            found = self._granted_org or "one that its answer does not name"
            raise ConfigError(
                f"Salesforce login: it leads to the org {found}, and SALESFORCE__EXPECTED_ORG_ID is"
                f" {expected}. Nothing is written until one of them is corrected"
            )

    def _new_access(self) -> _Access:
        login = self._login
        secrets: dict[str, Any]
        # Never both: with username and secret simple-salesforce tries the password flow.
        if login.consumer_secret is not None:
            secrets = {"consumer_secret": login.consumer_secret}
        else:
            secrets = {"username": login.username, "privatekey": login.private_key}
        with self._new_session() as session:
            # Before simple-salesforce looks at it: it can't read lists or HTML, and puts what it
            # was told into warnings and errors.
            session.hooks["response"] += [_check_token, self._learn_org]
            try:
                token, host = SalesforceLogin(
                    session=session,
                    domain=login.domain,
                    consumer_key=login.consumer_key,
                    **secrets,
                )
            except requests.RequestException as error:
                why = type(error).__name__
                raise OrgUnavailable(f"Salesforce login got no answer: {why}") from None
            except InvalidKeyError:  # its text may quote the key
                raise ConfigError(
                    "Salesforce login: the private key can't sign. It must be an RSA key in PEM"
                    " format, whole, without a passphrase"
                ) from None
        self._check_org(login.expected_org_id)
        base_url = f"https://{host.rstrip('/')}/services/data/v{login.api_version}/"
        return _Access(self._generation, base_url, token)


def _check_token(response: requests.Response, **_: Any) -> None:
    """Let only an answer pass that holds a token. Raises OrgUnavailable and ConfigError."""
    body = parse_json(response.content)
    response.encoding = None  # a wrong one would keep simple-salesforce from reading it, too
    granted = body if isinstance(body, dict) else {}
    if response.status_code == HTTP_OK:
        if _is_login(granted.get("access_token"), granted.get("instance_url")):
            return
        raise OrgUnavailable(
            "Salesforce login was answered without a token or the address of the org. Should it"
            " stay so, check PROCESSOR_SALESFORCE__DOMAIN and PROCESSOR_SALESFORCE__ENDPOINT_URL"
        )
    code = error_code(Answer(response.status_code, body))
    if code is not None and BY_CODE.get(code) is Class.LIMIT:
        usage = parse_limit_info(response.headers.get("Sforce-Limit-Info"))
        is_daily = usage is None or usage.is_spent
        raise OrgUnavailable(
            f"Salesforce login failed: {code}",
            Pause.DAILY_LIMIT if is_daily else Pause.CONCURRENT_LIMIT,
        )
    error = granted.get("error")
    name = error if isinstance(error, str) and error.isascii() and error.isidentifier() else None
    said = name or f"HTTP {response.status_code}"
    is_final = name not in _PASSING_OAUTH_ERRORS if name is not None else True
    if response.status_code in _HTTP_PASSING or response.status_code not in range(300, 500):
        is_final = False
    if code is not None:
        is_final = False  # a list of errors comes from the API's side, not from the login's
    if is_final:
        raise ConfigError(
            f"Salesforce refused the login: {said}. Check domain, consumer key and secret or"
            " private key, and that the app is approved for the user"
        )
    raise OrgUnavailable(f"Salesforce login failed: {code or said}")


def _is_login(token: object, instance_url: object) -> bool:
    """Whether they can be put into requests."""
    is_token = isinstance(token, str) and _TOKEN.fullmatch(token)
    return bool(
        is_token and isinstance(instance_url, str) and _INSTANCE_URL.fullmatch(instance_url)
    )

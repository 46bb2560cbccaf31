"""The sandbox org lets in whom Salesforce would, and simple-salesforce can use it."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceExpiredSession

from processor.sandbox.org.auth import rsa_public_key
from processor.sandbox.org.server import Fault, FaultKind, OrgSettings, SandboxOrg
from tests.salesforce.org_client import SETTINGS, OrgClient, codes, failure, row, task_id
from tests.support.patience import patient

T1 = task_id(1)
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_PEM = (
    KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
PRIVATE_PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def client() -> Iterator[OrgClient]:
    with SandboxOrg(settings=OrgSettings(public_key_pem=PUBLIC_PEM)) as org:
        org.add_tasks([T1])
        with OrgClient(org) as client:
            yield client


def refusal(response: requests.Response) -> str:
    """The error of a login that was refused."""
    body = response.json()
    assert response.status_code == 400
    assert body.keys() == {"error", "error_description"}
    return str(body["error"])


def assertion(key: rsa.RSAPrivateKey = KEY, **changes: object) -> str:
    claims: dict[str, Any] = {
        "iss": SETTINGS.consumer_key,
        "sub": SETTINGS.username,
        "aud": "https://acme.my.salesforce.com",
        "exp": int(time.time()) + 180,
        **changes,
    }
    return jwt.encode(claims, key, algorithm="RS256")


@pytest.mark.parametrize("in_form", [True, False], ids=["in the form", "by Basic authentication"])
def test_client_credentials_are_taken(client: OrgClient, in_form: bool) -> None:
    pair = (SETTINGS.consumer_key, SETTINGS.consumer_secret)
    form = {"client_id": pair[0], "client_secret": pair[1]} if in_form else {}
    auth = None if in_form else pair
    granted = client.token(auth, grant_type="client_credentials", **form).json()
    assert granted["instance_url"] == client.org.url
    assert granted["token_type"] == "Bearer"
    assert granted["id"].startswith(f"{client.org.url}/id/00D")
    assert granted["issued_at"].isdigit()


@pytest.mark.parametrize(
    ("key", "secret", "error"),
    [
        ("nobody", SETTINGS.consumer_secret, "invalid_client_id"),
        (SETTINGS.consumer_key, "wrong", "invalid_client"),
    ],
)
def test_wrong_credentials_are_refused(
    client: OrgClient, key: str, secret: str, error: str
) -> None:
    assert refusal(client.token((key, secret), grant_type="client_credentials")) == error


def test_the_password_grant_is_blocked_and_others_are_unknown(client: OrgClient) -> None:
    password = client.token(grant_type="password", username="u", password="p")
    assert refusal(password) == "invalid_grant"
    assert refusal(client.token(grant_type="magic")) == "unsupported_grant_type"
    assert refusal(client.token()) == "invalid_request"


def test_a_signed_assertion_is_taken(client: OrgClient) -> None:
    in_a_minute = int(time.time()) + 60
    for changes in (
        {"aud": "https://acme.my.salesforce.com"},
        {"aud": client.org.url},
        {"exp": str(in_a_minute)},
        {"exp": in_a_minute * 1000},
    ):
        granted = client.token(grant_type=JWT_GRANT, assertion=assertion(**changes))
        assert granted.status_code == 200, granted.text


def test_a_body_may_come_in_chunks_without_a_length(client: OrgClient) -> None:
    form = (
        f"grant_type=client_credentials&client_id={SETTINGS.consumer_key}".encode(),
        b"&",
        f"client_secret={SETTINGS.consumer_secret}".encode(),
    )
    granted = client.session.post(
        f"{client.org.url}/services/oauth2/token",
        data=iter(form),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout=patient(10.0),
    )
    assert granted.request.headers["Transfer-Encoding"] == "chunked"
    assert granted.status_code == 200, granted.text
    assert client.send("GET", "limits").status_code == 200, "on the same connection"


@pytest.mark.parametrize(
    ("header", "body", "status"),
    [
        ("Transfer-Encoding: gzip, chunked", b"", 411),
        ("Transfer-Encoding: chunked", b"+5\r\nhello\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked", b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked", b"4\r\nhello\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked", b"\r\n", 400),
        ("Transfer-Encoding: chunked", b"fffffff\r\n", 413),
        ("Content-Length: +5", b"hello", 400),
        ("Content-Length: 1_0", b"0123456789", 400),
        ("Content-Length: 99999999", b"", 413),
    ],
)
def test_a_body_of_which_nobody_knows_where_it_ends_is_refused_and_the_connection_closed(
    client: OrgClient, header: str, body: bytes, status: int
) -> None:
    url = urlsplit(client.org.url)
    with socket.create_connection((url.hostname, url.port), patient(10.0)) as connection:
        head = f"POST /services/oauth2/token HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
        connection.sendall(head.encode() + body)
        with connection.makefile("rb") as answer:
            first = answer.readline()
            assert b"Connection: close" in answer.read()
    assert first.split()[1] == str(status).encode()


def test_the_public_key_may_come_as_a_certificate() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "processor")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    numbers = KEY.public_key().public_numbers()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    assert rsa_public_key(pem) == rsa_public_key(PUBLIC_PEM) == (numbers.n, numbers.e)
    with pytest.raises(ValueError, match="no RSA public key"):
        rsa_public_key("nothing")


def unsigned() -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    return ".".join([header, assertion().split(".")[1], ""])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("a.b", "invalid_grant", id="two parts"),
        pytest.param("a.b.c", "invalid_grant", id="no JSON"),
        pytest.param(unsigned(), "invalid_grant", id="not signed"),
        pytest.param(assertion(key=OTHER_KEY), "invalid_grant", id="signed by another key"),
        pytest.param(assertion(iss="nobody"), "invalid_client_id", id="unknown consumer"),
        pytest.param(assertion(sub="other@acme.test"), "invalid_grant", id="other user"),
        pytest.param(assertion(aud="https://acme.test"), "invalid_grant", id="other audience"),
        pytest.param(assertion(exp=int(time.time()) - 1), "invalid_grant", id="expired"),
        pytest.param(assertion(exp=int(time.time()) + 9_999), "invalid_grant", id="too long"),
        pytest.param(assertion(exp=1000 * int(time.time()) - 1), "invalid_grant", id="expired, ms"),
        pytest.param(assertion(exp=None), "invalid_grant", id="no expiry"),
    ],
)
def test_a_wrong_assertion_is_refused(client: OrgClient, text: str, error: str) -> None:
    assert refusal(client.token(grant_type=JWT_GRANT, assertion=text)) == error


def test_without_a_public_key_the_signature_is_not_looked_at() -> None:
    with SandboxOrg() as org, OrgClient(org) as client:
        granted = client.token(grant_type=JWT_GRANT, assertion=assertion(key=OTHER_KEY))
        assert granted.status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic x"], ids=["none", "wrong", "basic"])
def test_a_request_without_a_live_token_is_a_401(client: OrgClient, header: str) -> None:
    response = client.send("GET", "limits", headers={"Authorization": header})
    assert failure(response) == (401, "INVALID_SESSION_ID")
    assert "Sforce-Limit-Info" not in response.headers


def test_a_session_ends_with_its_time_or_when_it_is_told_to() -> None:
    with SandboxOrg(settings=OrgSettings(token_lifetime_s=0.2)) as org, OrgClient(org) as client:
        assert client.send("GET", "limits").status_code == 200
        time.sleep(0.25)
        assert failure(client.send("GET", "limits")) == (401, "INVALID_SESSION_ID")
        client.login()
        assert org.expire_tokens() == 1
        assert failure(client.send("GET", "limits")) == (401, "INVALID_SESSION_ID")


class ToSandbox(HTTPAdapter):
    """Sends what is meant for Salesforce to the sandbox org."""

    def __init__(self, org: SandboxOrg) -> None:
        self._url = org.url
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        assert request.url is not None
        request.url = self._url + "/" + request.url.split("/", 3)[3]
        return super().send(request, *args, **kwargs)


@pytest.fixture
def session(client: OrgClient) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("https://", ToSandbox(client.org))
        yield session


@pytest.mark.parametrize("flow", ["client credentials", "JWT bearer"])
def test_simple_salesforce_logs_in_writes_and_reads(
    client: OrgClient, session: requests.Session, flow: str
) -> None:
    how: dict[str, Any] = {"consumer_secret": SETTINGS.consumer_secret}
    if flow == "JWT bearer":
        how = {"username": SETTINGS.username, "privatekey": PRIVATE_PEM}
    salesforce: Any = Salesforce(
        consumer_key=SETTINGS.consumer_key, domain="acme.my", session=session, **how
    )
    body = {"allOrNone": False, "records": [row(T1, SMS_Status__c="Failed")]}
    results = salesforce.restful("composite/sobjects", method="PATCH", json=body)
    assert results == [{"id": T1, "success": True, "errors": []}]
    found = salesforce.query("SELECT SMS_Status__c FROM Task WHERE SMS_Status__c = 'Failed'")
    assert found["records"][0]["SMS_Status__c"] == "Failed"
    assert salesforce.Task.describe()["name"] == "Task"
    assert salesforce.limits()["DailyApiRequests"]["Max"] == 115_000
    assert salesforce.api_usage["api-usage"].total == 115_000


def test_simple_salesforce_logs_in_again_once_its_session_has_ended(
    client: OrgClient, session: requests.Session
) -> None:
    salesforce: Any = Salesforce(
        consumer_key=SETTINGS.consumer_key,
        consumer_secret=SETTINGS.consumer_secret,
        domain="acme.my",
        session=session,
    )
    client.org.expire_tokens()
    assert salesforce.restful("limits")["DailyApiRequests"]["Max"] == 115_000
    client.org.inject(Fault(FaultKind.SESSION, probability=1.0))
    with pytest.raises(SalesforceExpiredSession):
        salesforce.restful("limits")


def test_simple_salesforce_understands_a_refused_login(session: requests.Session) -> None:
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid_client"):
        Salesforce(
            consumer_key=SETTINGS.consumer_key,
            consumer_secret="wrong",
            domain="acme.my",
            session=session,
        )


@pytest.mark.parametrize("scope", ["id", "id openid refresh_token"])
def test_a_login_without_the_scope_for_the_api_gives_a_session_that_it_refuses(
    client: OrgClient, scope: str
) -> None:
    assert client.control("POST", "scope", {"scope": scope}).json() == {"scope": scope}
    assert codes(client.update([row(T1)])) == ["ok"], "a session from before goes on"
    client.login()
    refused = client.update([row(T1)])
    assert failure(refused) == (401, "INVALID_SESSION_ID")
    assert "not valid for use with the REST API" in refused.text
    client.control("POST", "scope", {"scope": "id api"})
    client.login()
    assert codes(client.update([row(T1)])) == ["ok"]


@pytest.mark.parametrize(
    ("old_host", "status"),
    [("redirect", 301), ("forbidden", 403), ("missing", 404), ("url_not_reset", 400), ("reset", 0)],
)
def test_an_org_that_has_moved_is_reached_after_a_new_login_only(
    client: OrgClient, old_host: str, status: int
) -> None:
    client.control("POST", "move", {"old_host": old_host})
    if old_host == "reset":
        with pytest.raises(requests.ConnectionError):
            client.update([row(T1)])
    else:
        assert client.update([row(T1)], allow_redirects=False).status_code == status
    client.login()
    assert codes(client.update([row(T1)])) == ["ok"]


def test_who_calls_is_in_the_statistics(client: OrgClient) -> None:
    client.session.headers.update({"Sforce-Call-Options": "client=me", "User-Agent": "me/1"})
    client.update([row(T1)])
    callers = client.control("GET", "stats").json()["callers"]
    assert callers["collections_update"] == {"client=me me/1": 1}

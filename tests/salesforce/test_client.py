"""Logging in and sending: both flows, one endpoint for everything, and far sides that are odd."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from processor.errors import ConfigError, Unavailable
from processor.salesforce.client import Client
from processor.salesforce.collections import Row, describe_call, retrieve_call, update_call
from processor.salesforce.transport import Session
from processor.salesforce.verdicts import OrgUnavailable, Pause
from processor.salesforce.wire import NOT_JSON, Answer, NoAnswer
from processor.sandbox.org.server import OrgSettings, SandboxOrg, id_18
from tests.support.parts import login
from tests.support.patience import patient
from tests.support.stub_server import Reply, Stub, as_json, stub_server

TOKEN = "/services/oauth2/token"
DATA = "/services/data/v66.0/"
COLLECTIONS = DATA + "composite/sobjects"
DESCRIBE = DATA + "sobjects/Task/describe"
TASK = id_18("00T000000000001")
GRANTED = {"access_token": "the-token", "instance_url": "https://na1.salesforce.com"}
LIMIT = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}]
WRITE = update_call([[Row(TASK, {"SMS_Status__c": "Delivery"})]], "66.0")


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_server() as stub:
        stub.on(TOKEN, as_json(200, GRANTED))
        yield stub


def client_of(stub: Stub, **more: Any) -> Client:
    return Client(login(**{"endpoint_url": stub.url, **more}))


# -- settings ----------------------------------------------------------------------------------

PEM = "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "either"),
        ({"username": "u"}, "either"),
        ({"private_key": PEM}, "either"),
        ({"consumer_secret": "s", "username": "u", "private_key": PEM}, "either"),
        ({"consumer_secret": "s", "domain": "login"}, "own domain"),
        ({"username": "u", "private_key": "/path/to/key.pem"}, "PEM"),
        (
            {"username": "u", "private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----"},
            "passphrase",
        ),
        ({"consumer_secret": "s", "endpoint_url": "localhost:8080"}, "endpoint_url"),
    ],
)
def test_a_login_that_can_not_work_says_what_to_change(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        login(**{"consumer_secret": None, **settings})


def test_a_login_to_another_org_than_the_expected_one_is_refused(stub: Stub) -> None:
    expected = "00D5g00000A1b2CEAX"
    client = client_of(stub, expected_org_id=expected)
    for identity in ("https://login.salesforce.com/id/00D000000000001EAA/0051", None, "", 7):
        stub.on(TOKEN, as_json(200, {**GRANTED, "id": identity}))
        with pytest.raises(ConfigError, match=f"SALESFORCE__EXPECTED_ORG_ID is {expected}"):
            client.log_in()
        assert not client.logged_in
    for found in (expected, expected[:15]):
        stub.on(TOKEN, as_json(200, {**GRANTED, "id": f"https://x/id/{found}/0051"}))
        client.log_in(instead_of=client.generation)
        assert client.org_id == expected[:15]


@pytest.mark.parametrize(
    ("identity", "org"),
    [
        (
            "https://login.salesforce.com/id/00D000000000001EAA/005000000000001AAA",
            "00D000000000001",
        ),
        ("https://acme.my.salesforce.com/id/00D000000000001/005000000000001", "00D000000000001"),
        ("https://acme.my.salesforce.com/", None),
        (None, None),
        (7, None),
    ],
)
def test_a_login_tells_which_org_it_has_led_to(stub: Stub, identity: Any, org: str | None) -> None:
    stub.on(TOKEN, as_json(200, {**GRANTED, "id": identity}))
    client = client_of(stub)
    assert client.org_id is None
    client.log_in()
    assert client.org_id == org


def test_secrets_are_not_in_a_login_s_text() -> None:
    by_key = login(consumer_key="the-key", username="u@x", private_key=PEM)
    assert repr(by_key).count("PRIVATE") == 0
    assert "the-key" not in repr(by_key)
    assert "hush" not in repr(login())


# -- the two flows -----------------------------------------------------------------------------


def test_client_credentials_log_in_at_the_endpoint_and_go_on_there(stub: Stub) -> None:
    stub.on(DESCRIBE, as_json(200, {"fields": []}))
    client = client_of(stub)
    client.log_in()
    assert isinstance(client.send(describe_call()), Answer)
    token, describe = stub.requests
    assert parse_qs(token.body.decode()) == {"grant_type": ["client_credentials"]}
    assert token.headers["authorization"] == "Basic " + base64.b64encode(b"key:hush").decode()
    assert describe.headers["authorization"] == "Bearer the-token"
    assert describe.path == DESCRIBE


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize(
    "pem",
    [
        PEM,
        pem_of(rsa.generate_private_key(65_537, 2_048))[100:],
        pem_of(ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["damaged", "cut", "not RSA"],
)
def test_a_key_that_cannot_sign_is_a_fault_of_ours_and_not_quoted(pem: str, stub: Stub) -> None:
    pem = pem if pem.startswith("-----BEGIN") else "-----BEGIN PRIVATE KEY-----\n" + pem
    client = client_of(stub, username="u@x", private_key=pem)
    with pytest.raises(ConfigError, match="must be an RSA key in PEM") as caught:
        client.log_in()
    assert pem[30:60] not in str(caught.value)
    assert stub.requests == []


def test_jwt_bearer_logs_in_with_a_signature_that_the_org_verifies() -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = pem_of(key)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings = OrgSettings(public_key_pem=public.decode())
    with SandboxOrg(settings=settings) as org:
        org.add_tasks([TASK])
        client = Client(
            login(
                consumer_key=settings.consumer_key,
                username=settings.username,
                private_key=pem,
                endpoint_url=org.url,
            )
        )
        client.log_in()
        reply = client.send(WRITE)
        assert isinstance(reply, Answer)
        assert reply.status == 200
        assert client.check_fields({"SMS_Status__c": "category"}) == []
        client.close()


def test_an_endpoint_may_have_a_path_of_its_own(stub: Stub) -> None:
    stub.on("/proxy" + TOKEN, as_json(200, GRANTED))
    client = client_of(stub, endpoint_url=stub.url + "/proxy/")
    client.log_in()
    client.send(WRITE)
    assert [r.path for r in stub.requests] == ["/proxy" + TOKEN, "/proxy" + COLLECTIONS]


def test_every_request_goes_by_the_proxy_of_the_environment(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", stub.url)
    monkeypatch.setenv("no_proxy", "here.invalid")
    there = "http://there.invalid"
    stub.on(there + TOKEN, as_json(200, GRANTED))
    client = client_of(stub, endpoint_url=there)
    client.log_in()
    client.send(WRITE)
    client.send(WRITE)
    assert [r.path for r in stub.requests] == [there + TOKEN, *[there + COLLECTIONS] * 2]


def test_a_session_knows_the_proxy_of_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:8080")
    monkeypatch.setenv("no_proxy", "here.invalid")
    session = Session(None, (1.0, 1.0), lambda *_, **__: None)

    def proxy_of(url: str, given: dict[str, str]) -> str | None:
        settings = session.merge_environment_settings(url, given, True, None, None)
        assert settings["stream"] is True
        proxies: dict[str, str] = settings["proxies"]
        return proxies.get("http")

    for _ in range(2):
        assert proxy_of("http://there.invalid/a", {}) == "http://proxy.invalid:8080"
        assert proxy_of("http://here.invalid/a", {}) is None
        assert proxy_of("http://there.invalid/a", {"http": "http://own"}) == "http://own"


def test_every_write_carries_the_header_against_assignment_rules(stub: Stub) -> None:
    client = client_of(stub)
    client.log_in()
    client.send(WRITE)
    client.send(retrieve_call([TASK], ["SMS_Status__c"]))
    _, write, read = stub.requests
    assert write.headers["sforce-auto-assign"] == "FALSE"
    assert "sforce-auto-assign" not in read.headers


def test_a_netrc_entry_does_not_replace_the_token(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = client_of(stub)
    client.log_in()
    client.send(WRITE)
    assert stub.requests[1].headers["authorization"] == "Bearer the-token"


def test_a_new_login_takes_the_host_and_token_that_it_is_given(stub: Stub) -> None:
    moved = {"access_token": "newer", "instance_url": "https://na2.salesforce.com"}
    stub.on(TOKEN, as_json(200, GRANTED), as_json(200, moved))
    client = client_of(stub)
    client.log_in()
    first = client.send(WRITE)
    assert isinstance(first, Answer)
    client.log_in(instead_of=first.generation)
    client.log_in(instead_of=first.generation)  # somebody else was faster
    client.log_in()
    client.send(WRITE)
    assert [r.path for r in stub.requests].count(TOKEN) == 2
    assert stub.requests[-1].headers["authorization"] == "Bearer newer"


# -- logins that fail --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (as_json(400, {"error": "invalid_client_id", "error_description": "x"}), ConfigError),
        (as_json(400, {"error": "invalid_grant"}), ConfigError),
        (as_json(401, {"error": "invalid_client"}), ConfigError),
        (as_json(400, {"error": "inactive_org"}), ConfigError),
        (Reply(404, b"<html>no such domain</html>"), ConfigError),
        (Reply(302, b"", {"Location": "https://elsewhere.example/"}), ConfigError),
        (as_json(400, {"error": "rate_limit_exceeded"}), Unavailable),
        (as_json(400, {"error": "unknown_error"}), Unavailable),
        (as_json(503, [{"errorCode": "SERVER_UNAVAILABLE", "message": "x"}]), Unavailable),
        (as_json(403, LIMIT), Unavailable),
        (as_json(500, {"error": "invalid_grant"}), Unavailable),
        (Reply(503, b"<html>maintenance</html>"), Unavailable),
        (Reply(420, b""), Unavailable),
        (Reply(429, b""), Unavailable),
        (Reply(200, b"<html>maintenance</html>"), Unavailable),
        (as_json(200, {}), Unavailable),
        (as_json(200, {"access_token": "t", "instance_url": None}), Unavailable),
        (as_json(200, []), Unavailable),
        (as_json(200, {**GRANTED, "access_token": ""}), Unavailable),
        (as_json(200, {**GRANTED, "access_token": "t\r\nX: y"}), Unavailable),
        (as_json(200, {**GRANTED, "access_token": "\u043a\ud800"}), Unavailable),
        (as_json(200, {**GRANTED, "instance_url": ""}), Unavailable),
        (as_json(200, {**GRANTED, "instance_url": "https://"}), Unavailable),
        (as_json(200, {**GRANTED, "instance_url": "https://[bad/"}), Unavailable),
        (as_json(200, {**GRANTED, "instance_url": "https://a b/"}), Unavailable),
        (as_json(400, {"error": "\u043a\ud800"}), ConfigError),
        (as_json(400, {"error": ["invalid_grant"]}), ConfigError),
    ],
)
def test_a_login_fails_for_now_or_until_somebody_acts(
    stub: Stub, reply: Reply, error: type[Exception]
) -> None:
    stub.on(TOKEN, reply)
    client = client_of(stub)
    with pytest.raises(error) as raised:
        client.log_in()
    assert not client.logged_in
    assert "hush" not in str(raised.value)
    assert len(stub.requests) == 1


def test_a_token_is_read_whatever_encoding_the_answer_says_it_has(stub: Stub) -> None:
    body = json.dumps(GRANTED).encode()
    stub.on(TOKEN, Reply(200, body, {"Content-Type": "application/json; charset=utf-16"}))
    client = client_of(stub)
    client.log_in()
    assert client.logged_in


SPENT = {"Sforce-Limit-Info": "api-usage=5000/5000"}
NOT_SPENT = {"Sforce-Limit-Info": "api-usage=4999/5000"}


@pytest.mark.parametrize(
    ("path", "headers", "pause"),
    [
        (TOKEN, SPENT, Pause.DAILY_LIMIT),
        (TOKEN, {}, Pause.DAILY_LIMIT),  # logins know of no other limit
        (TOKEN, NOT_SPENT, Pause.CONCURRENT_LIMIT),
        (DESCRIBE, SPENT, Pause.DAILY_LIMIT),
        (DESCRIBE, NOT_SPENT, Pause.CONCURRENT_LIMIT),
    ],
)
def test_the_daily_limit_at_the_start_is_told_and_waited_for_as_such(
    stub: Stub, path: str, headers: dict[str, str], pause: Pause
) -> None:
    stub.on(path, as_json(403, LIMIT, **headers))
    with pytest.raises(OrgUnavailable, match="REQUEST_LIMIT_EXCEEDED") as raised:
        client_of(stub).fields()
    assert raised.value.pause is pause
    if path != TOKEN and headers is SPENT:
        assert "5000 of 5000 API calls of the last 24 hours are used" in str(raised.value)


def test_a_session_that_is_refused_right_after_the_login_says_what_an_admin_has_to_do(
    stub: Stub,
) -> None:
    stub.on(DESCRIBE, as_json(401, [{"errorCode": "INVALID_SESSION_ID", "message": "x"}]))
    says = r"'Manage user data via APIs .api.'.*'API Enabled'"
    with pytest.raises(OrgUnavailable, match=says) as refusal:
        client_of(stub).fields()
    # It may be a fault that is over soon: no reason for a process not to start.
    assert refusal.value.pause is Pause.FAULT
    assert [r.path for r in stub.requests] == [TOKEN, DESCRIBE] * 2


def test_every_kind_of_request_says_who_is_calling(stub: Stub) -> None:
    stub.on(DESCRIBE, as_json(200, {"fields": []}))
    client = client_of(stub)
    client.fields()
    client.send(WRITE)
    client.send(update_call([[Row(TASK, {})], [Row(TASK, {})]], "66.0"))
    client.send(retrieve_call([TASK], ["SMS_Status__c"]))
    assert [r.path for r in stub.requests] == [
        TOKEN,
        DESCRIBE,
        COLLECTIONS,
        DATA + "composite",
        COLLECTIONS + "/Task",
    ]
    for request in stub.requests:
        assert request.headers["sforce-call-options"] == "client=sms-status-processor"
        assert re.fullmatch(r"sms-status-processor/[0-9][\w.]*", request.headers["user-agent"])


def test_a_login_without_an_answer_is_unavailable() -> None:
    client = Client(login(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="ConnectionError"):
        client.log_in()


def test_without_a_login_a_request_is_answered_as_if_it_had_expired(stub: Stub) -> None:
    reply = client_of(stub).send(WRITE)
    assert isinstance(reply, Answer)
    assert reply.status == 401
    assert stub.requests == []


# -- requests ----------------------------------------------------------------------------------


def logged_in(stub: Stub, **more: Any) -> Client:
    client = client_of(stub, **more)
    client.log_in()
    return client


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (as_json(200, [1]), 200, [1]),
        (Reply(503, b"<html>"), 503, NOT_JSON),
        (Reply(401, b""), 401, NOT_JSON),
        (Reply(200, b'[{"success": tr'), 200, NOT_JSON),
        (Reply(200, b"\xff\xfe"), 200, NOT_JSON),
        (Reply(200, b"[" * 100_000), 200, NOT_JSON),
    ],
)
def test_any_answer_is_a_value(stub: Stub, reply: Reply, status: int, body: object) -> None:
    stub.on(COLLECTIONS, reply)
    answer = logged_in(stub).send(WRITE)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (status, body)


def test_a_redirect_is_not_followed(stub: Stub) -> None:
    stub.on(COLLECTIONS, Reply(302, b"", {"Location": stub.url + "/elsewhere"}))
    answer = logged_in(stub).send(WRITE)
    assert isinstance(answer, Answer)
    assert answer.status == 302
    assert [r.path for r in stub.requests] == [TOKEN, COLLECTIONS]


@pytest.mark.parametrize("status", [200, 403, 503])
def test_api_usage_is_read_from_every_answer_with_an_error_too(stub: Stub, status: int) -> None:
    stub.on(COLLECTIONS, as_json(status, [], **{"Sforce-Limit-Info": "api-usage=18/5000"}))
    client = logged_in(stub)
    client.send(WRITE)
    assert client.budget.usage == (18, 5000)


def test_an_answer_that_trickles_ends_at_the_timeout(stub: Stub) -> None:
    stub.on(COLLECTIONS, Reply(200, b" " * 300_000, drip_s=0.05))
    client = logged_in(stub, request_timeout_s=(1.0, 0.3))
    began_s = time.monotonic()
    reply = client.send(WRITE)
    assert reply == NoAnswer(begun=True, why="ReadTimeout", timed_out=True)
    assert time.monotonic() - began_s < patient(5.0)


def test_a_connection_that_is_refused_has_sent_nothing(stub: Stub) -> None:
    client = logged_in(stub)
    client.close()
    object.__setattr__(client._login, "endpoint_url", "http://127.0.0.1:9")
    assert client.send(WRITE) == NoAnswer(begun=False, why="ConnectionError")


# -- describe ----------------------------------------------------------------------------------


def test_describe_is_asked_once_and_again_after_a_new_login(stub: Stub) -> None:
    described = as_json(200, {"fields": [{"name": "A__c", "type": "string", "updateable": True}]})
    expired = as_json(401, [{"errorCode": "INVALID_SESSION_ID", "message": "x"}])
    stub.on(DESCRIBE, expired, described)
    client = client_of(stub)
    assert client.check_fields({"A__c": "code"}) == []
    assert client.check_fields({"B__c": "code"}) != []
    assert [r.path for r in stub.requests] == [TOKEN, DESCRIBE, TOKEN, DESCRIBE]
    client.forget_fields()
    client.fields()
    assert len(stub.requests) == 5


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (as_json(404, [{"errorCode": "NOT_FOUND", "message": "x"}]), ConfigError),
        (as_json(403, [{"errorCode": "API_DISABLED_FOR_ORG", "message": "x"}]), ConfigError),
        (as_json(403, LIMIT), Unavailable),
        (as_json(401, [{"errorCode": "INVALID_SESSION_ID", "message": "x"}]), Unavailable),
        (Reply(503, b"<html>"), Unavailable),
        (Reply(200, b"<html>"), Unavailable),
        (as_json(200, []), Unavailable),
        (as_json(200, {"fields": None}), Unavailable),
        (as_json(200, {"fields": {"name": "A__c"}}), Unavailable),
        (as_json(200, {"fields": [None, 5, {"type": "string"}]}), Unavailable),
    ],
)
def test_describe_fails_for_now_or_until_somebody_acts(
    stub: Stub, reply: Reply, error: type[Exception]
) -> None:
    stub.on(DESCRIBE, reply)
    with pytest.raises(error):
        client_of(stub).fields()
    assert len(stub.requests) <= 4


def test_the_body_is_sent_as_json_with_its_length(stub: Stub) -> None:
    logged_in(stub).send(WRITE)
    request = stub.requests[-1]
    assert request.method == "PATCH"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(WRITE.body))
    assert json.loads(request.body)["records"][0]["id"] == TASK

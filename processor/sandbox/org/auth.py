"""Logging in to the sandbox org: client credentials and JWT bearer, as Salesforce answers them.

The signature of an assertion is verified where the org was given a public key. RSASSA-PKCS1-v1_5
with SHA-256 is a modular power and a comparison, so this needs no library; it protects test data
only, and must not be used for anything else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_LIFE_MAX_S: Final = 300  # Salesforce refuses an expiry further ahead
_RSA_KEY_MARK: Final = bytes.fromhex("06092a864886f70d0101010500")  # rsaEncryption, NULL
_SHA256_PREFIX: Final = bytes.fromhex("3031300d060960864801650304020105000420")
ORG_ID: Final = "00D000000000001EAA"
_USER_ID: Final = "005000000000001AAA"


class OAuthError(Exception):
    """A login that was refused: the body is an object here, not a list."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description

    def body(self) -> dict[str, object]:
        """Return the JSON of the answer."""
        return {"error": self.error, "error_description": self.description}


@dataclass(slots=True)
class Access:
    """What a token is good for. `old_host`: it is of a login from before the org moved."""

    until_s: float
    for_api: bool
    old_host: bool = False


class TokenDesk:
    """Hands out access tokens and knows which are alive. Thread-safe.

    `scope`: what logins grant from now on, as the app was given it by its admin.
    """

    def __init__(
        self,
        *,
        consumer_key: str,
        consumer_secret: str,
        username: str,
        public_key_pem: str | None,
        token_lifetime_s: float,
    ) -> None:
        self._consumer_key = consumer_key
        self._consumer_secret = consumer_secret
        self._username = username
        self._public_key = None if public_key_pem is None else rsa_public_key(public_key_pem)
        self._lifetime_s = token_lifetime_s
        self._lock = threading.Lock()
        self._alive: dict[str, Access] = {}
        self._signing_key = secrets.token_bytes(32)
        self.issued = 0
        self.scope = "api"

    def login(self, form: Mapping[str, str], authorization: str, own_url: str) -> dict[str, object]:
        """Answer a token request; raise OAuthError."""
        grant = form.get("grant_type")
        if grant is None:
            raise OAuthError("invalid_request", "missing required parameter: grant_type")
        if grant == "client_credentials":
            self._check_client(form, authorization)
        elif grant == _JWT_GRANT:
            self._check_assertion(form.get("assertion", ""), own_url)
        elif grant == "password":
            # Blocked by default in every org, and retired in 2027.
            raise OAuthError("invalid_grant", "authentication failure")
        else:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        return self._issue(own_url)

    def access(self, authorization: str) -> Access | None:
        """Return what the token of an Authorization header is good for; None: it is not alive."""
        scheme, _, token = authorization.partition(" ")
        access = self._alive.get(token)
        is_alive = access is not None and time.monotonic() < access.until_s
        return access if is_alive and scheme in {"Bearer", "OAuth"} else None

    def expire_all(self) -> int:
        """End every session; return how many there were."""
        with self._lock:
            count = len(self._alive)
            self._alive.clear()
        return count

    def move(self) -> None:
        """Leave every session behind on the host that the org had until now."""
        with self._lock:
            for access in self._alive.values():
                access.old_host = True

    def _issue(self, own_url: str) -> dict[str, object]:
        token = f"{ORG_ID[:15]}!{secrets.token_urlsafe(48)}"
        now_s = time.monotonic()
        with self._lock:
            self.issued += 1
            dead = [old for old, access in self._alive.items() if access.until_s <= now_s]
            for old in dead:
                del self._alive[old]
            for_api = not {"api", "full"}.isdisjoint(self.scope.split())
            self._alive[token] = Access(now_s + self._lifetime_s, for_api)
        identity = f"{own_url}/id/{ORG_ID}/{_USER_ID}"
        issued_at = str(time.time_ns() // 1_000_000)
        digest = hmac.digest(self._signing_key, (identity + issued_at).encode(), "sha256")
        return {
            "access_token": token,
            "signature": base64.b64encode(digest).decode(),
            "scope": self.scope,
            "instance_url": own_url,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }

    def _check_client(self, form: Mapping[str, str], authorization: str) -> None:
        key, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise OAuthError("invalid_client", "invalid client credentials") from None
        if key != self._consumer_key:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(secret.encode(), self._consumer_secret.encode()):
            raise OAuthError("invalid_client", "invalid client credentials")

    def _check_assertion(self, assertion: str, own_url: str) -> None:
        parts = assertion.split(".")
        if len(parts) != 3:
            raise OAuthError("invalid_grant", "invalid assertion")
        header, claims = _json_part(parts[0]), _json_part(parts[1])
        if header.get("alg") != "RS256":
            raise OAuthError("invalid_grant", "algorithm not supported")
        if claims.get("iss") != self._consumer_key:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if not _is_audience(claims.get("aud"), own_url):
            raise OAuthError("invalid_grant", "audience is invalid")
        expiry_s, now_s = _expiry_s(claims.get("exp")), time.time()
        if not now_s < expiry_s <= now_s + _ASSERTION_LIFE_MAX_S:
            raise OAuthError("invalid_grant", "assertion expired or expires too far ahead")
        if claims.get("sub") != self._username:
            raise OAuthError("invalid_grant", "user hasn't approved this consumer")
        if self._public_key is not None and not _signed_by(self._public_key, parts):
            raise OAuthError("invalid_grant", "invalid assertion")


_MILLISECONDS_FROM: Final = 100_000_000_000  # as seconds, the year 5138


def _expiry_s(value: object) -> float:
    """Salesforce also takes the time as text, which is how simple-salesforce sends it, and in
    milliseconds, which is how its own library for Node does (`@salesforce/core`).
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OAuthError("invalid_grant", "invalid assertion")
    return float(value) / 1000 if value > _MILLISECONDS_FROM else float(value)


def _is_audience(audience: object, own_url: str) -> bool:
    if audience == own_url:
        return True
    if not isinstance(audience, str):
        return False
    url = urlsplit(audience)
    return url.scheme == "https" and (url.hostname or "").endswith(".salesforce.com")


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise OAuthError("invalid_grant", "invalid assertion") from None


def _json_part(part: str) -> Mapping[str, object]:
    try:
        data = json.loads(_decode(part))
    except ValueError:
        raise OAuthError("invalid_grant", "invalid assertion") from None
    if not isinstance(data, dict):
        raise OAuthError("invalid_grant", "invalid assertion")
    return data


def _signed_by(public_key: tuple[int, int], parts: list[str]) -> bool:
    modulus, exponent = public_key
    size = (modulus.bit_length() + 7) // 8
    signature = int.from_bytes(_decode(parts[2]), "big")
    if signature >= modulus:
        return False
    digest = hashlib.sha256(f"{parts[0]}.{parts[1]}".encode()).digest()
    info = _SHA256_PREFIX + digest
    expected = b"\x00\x01" + b"\xff" * (size - len(info) - 3) + b"\x00" + info
    return pow(signature, exponent, modulus).to_bytes(size, "big") == expected


def rsa_public_key(pem: str) -> tuple[int, int]:
    """Return modulus and exponent of a PEM public key or certificate; raise ValueError."""
    body = re.search(r"-----BEGIN [A-Z ]+-----(.+?)-----END", pem, re.DOTALL)
    der = base64.b64decode(re.sub(r"\s", "", body[1])) if body else b""
    start = der.find(_RSA_KEY_MARK)
    if start < 0:
        raise ValueError("no RSA public key in this PEM")
    # BIT STRING (its first octet counts unused bits) > SEQUENCE > INTEGER modulus, exponent
    _, bits = _der_value(der, start + len(_RSA_KEY_MARK))
    _, numbers = _der_value(bits, 1)
    after, modulus = _der_value(numbers, 0)
    _, exponent = _der_value(numbers, after)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _der_value(data: bytes, start: int) -> tuple[int, bytes]:
    """Return where the element at `start` ends, and its content."""
    length, offset = data[start + 1], start + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[offset : offset + octets], "big")
        offset += octets
    return offset + length, data[offset : offset + length]

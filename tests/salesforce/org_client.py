"""A small HTTP client of the sandbox org, for its contract tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter

from processor.sandbox.org.server import OrgSettings, SandboxOrg, id_18
from tests.support.patience import Patience, patient

VERSION = "v59.0"
TIMEOUT_S = 10.0
SETTINGS = OrgSettings()


def task_id(number: int) -> str:
    """The 18-character Id of the nth Task."""
    return id_18(f"00T8d{number:010d}")


def row(ident: object, **fields: object) -> dict[str, object]:
    return {"attributes": {"type": "Task"}, "id": ident, **fields}


class OrgClient:
    """Logged in by client credentials; every method is one HTTP request."""

    def __init__(self, org: SandboxOrg) -> None:
        self.org = org
        self.session = requests.Session()
        # Without retries a reset is seen as it is.
        self.session.mount("http://", HTTPAdapter(max_retries=0))
        self.login()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def login(self) -> None:
        granted = self.token(
            grant_type="client_credentials",
            client_id=SETTINGS.consumer_key,
            client_secret=SETTINGS.consumer_secret,
        )
        self.session.headers["Authorization"] = f"Bearer {granted.json()['access_token']}"

    def token(self, auth: tuple[str, str] | None = None, **form: str) -> requests.Response:
        url = f"{self.org.url}/services/oauth2/token"
        return self.session.post(url, data=form, auth=auth, timeout=patient(TIMEOUT_S))

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", patient(TIMEOUT_S))
        url = f"{self.org.url}/services/data/{VERSION}/{path}"
        return self.session.request(method, url, **options)

    def control(self, method: str, path: str, body: object = None) -> requests.Response:
        url = f"{self.org.url}/__sandbox__/{path}"
        return self.session.request(method, url, json=body, timeout=patient(TIMEOUT_S))

    def update(
        self, rows: Iterable[Mapping[str, object]], *, all_or_none: bool = False, **options: Any
    ) -> requests.Response:
        body = {"allOrNone": all_or_none, "records": list(rows)}
        return self.send("PATCH", "composite/sobjects", json=body, **options)

    def retrieve(self, ids: list[str], fields: list[str]) -> requests.Response:
        return self.send("POST", "composite/sobjects/Task", json={"ids": ids, "fields": fields})

    def query(self, text: str) -> requests.Response:
        return self.send("GET", "query", params={"q": text})

    def composite(
        self, parts: Iterable[Mapping[str, object]], *, all_or_none: bool = False
    ) -> requests.Response:
        body = {"allOrNone": all_or_none, "compositeRequest": list(parts)}
        return self.send("POST", "composite", json=body)


def collection_part(reference: str, *rows: Mapping[str, object]) -> dict[str, object]:
    """A subrequest of a composite that updates rows."""
    return {
        "method": "PATCH",
        "url": f"/services/data/{VERSION}/composite/sobjects",
        "referenceId": reference,
        "body": {"allOrNone": False, "records": list(rows)},
    }


def codes(response: requests.Response) -> list[str]:
    """What became of each row: `ok`, or its error code."""
    assert response.status_code == 200, response.text
    return [
        "ok" if result["success"] else result["errors"][0]["statusCode"]
        for result in response.json()
    ]


def failure(response: requests.Response) -> tuple[int, str]:
    """The status and the code of a request that failed as a whole."""
    (error,) = response.json()
    assert error["message"]
    return response.status_code, error["errorCode"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens on another thread; fail when it does not."""
    limit = Patience(TIMEOUT_S)
    while not condition():
        assert not limit.is_over(), "it did not happen"
        time.sleep(0.005)

"""The control endpoint of the sandbox org: `/__sandbox__/...`, for tests and demonstrations.

| request | effect |
|---|---|
| GET, POST, DELETE faults | list, inject (one fault or a list), clear |
| POST release-late | apply at once what waits to be applied late |
| GET writes[?after=N&limit=N] | the log of writes, in the order of application |
| GET tasks[?ids=a,b] | the Tasks and their fields |
| POST tasks `{"ids": [...]}` or `{"records": [{"id": ..., field: value}]}` | add Tasks |
| DELETE tasks `{"ids": [...]}` | delete Tasks, as a user would |
| POST expire-tokens | end every session |
| POST move `{"old_host": "redirect"}` | leave the host; how it answers: see `OldHost` |
| POST scope `{"scope": "id"}` | the OAuth scopes that logins grant from now on |
| POST limit `{"max": N, "used": N}` | set the allocation of API calls, or what is used of it |
| GET stats | requests, who made them, rows, calls, faults |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

from processor.sandbox.org.faults import Fault
from processor.sandbox.org.schema import ApiError
from processor.sandbox.org.service import OldHost, Reply
from processor.sandbox.org.tasks import Write

PREFIX: Final = "/__sandbox__/"


class ControlError(ValueError):
    """A control request that makes no sense."""


class Controls(Protocol):
    """What can be done to the org from outside."""

    def inject(self, *faults: Fault) -> None: ...
    def clear_faults(self) -> None: ...
    def faults(self) -> list[dict[str, object]]: ...
    def release_late(self) -> int: ...
    def add_task(self, task_id: str, values: Mapping[str, object] | None = None) -> None: ...
    def delete_tasks(self, task_ids: list[str]) -> None: ...
    def tasks(self, task_ids: list[str] | None = None) -> list[dict[str, object]]: ...
    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]: ...
    def expire_tokens(self) -> int: ...
    def move(self, old_host: OldHost) -> None: ...
    def set_scope(self, scope: str) -> None: ...
    def set_limit(self, calls_max: int | None = None, used: int | None = None) -> None: ...
    def stats(self) -> dict[str, object]: ...


def control(org: Controls, method: str, target: str, body: bytes) -> Reply:
    """Answer one control request; a wrong one is a 400 with the reason."""
    url = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    try:
        data = json.loads(body) if body.strip() else {}
        answer = _answer(org, method, url.path.removeprefix(PREFIX).rstrip("/"), query, data)
    except ApiError as error:
        return _reply(400, {"error": error.message})
    except (KeyError, ValueError) as error:
        return _reply(400, {"error": f"{type(error).__name__}: {error}"})
    if answer is None:
        return _reply(404, {"error": f"no {method} {url.path}"})
    return _reply(200, answer)


def _answer(
    org: Controls, method: str, name: str, query: Mapping[str, str], data: object
) -> object:
    if name == "tasks":
        return _tasks(org, method, query, data)
    if name == "faults":
        return _faults(org, method, data)
    match method, name:
        case "GET", "writes":
            limit = int(query["limit"]) if "limit" in query else None
            return {"writes": [w._asdict() for w in org.writes(int(query.get("after", 0)), limit)]}
        case "GET", "stats":
            return org.stats()
        case "POST", "release-late":
            return {"released": org.release_late()}
        case "POST", "expire-tokens":
            return {"expired": org.expire_tokens()}
        case "POST", _:
            return _adjust(org, name, data)
    return None


def _adjust(org: Controls, name: str, data: object) -> object:
    match name:
        case "move":
            old_host = OldHost(str(_mapping(data)["old_host"]))
            org.move(old_host)
            return {"old_host": old_host}
        case "scope":
            scope = str(_mapping(data)["scope"])
            org.set_scope(scope)
            return {"scope": scope}
        case "limit":
            given = _mapping(data)
            org.set_limit(_count(given, "max"), _count(given, "used"))
            return {"limit": org.stats()["api_calls"]}
    return None


def _faults(org: Controls, method: str, data: object) -> object:
    match method:
        case "GET":
            return {"faults": org.faults()}
        case "POST":
            faults = [Fault.from_json(_mapping(one)) for one in _as_list(data)]
            org.inject(*faults)
            return {"injected": len(faults)}
        case "DELETE":
            org.clear_faults()
            return {"faults": []}
    return None


def _tasks(org: Controls, method: str, query: Mapping[str, str], data: object) -> object:
    match method:
        case "GET":
            ids = query["ids"].split(",") if "ids" in query else None
            return {"tasks": org.tasks(ids)}
        case "POST":
            given = _mapping(data)
            records = [dict(_mapping(record)) for record in _as_list(given.get("records", []))]
            records += [{"id": task_id} for task_id in _as_list(given.get("ids", []))]
            for record in records:
                org.add_task(str(record.pop("id")), record)
            return {"added": len(records)}
        case "DELETE":
            ids = [str(task_id) for task_id in _as_list(_mapping(data)["ids"])]
            org.delete_tasks(ids)
            return {"deleted": len(ids)}
    return None


def _as_list(data: object) -> list[object]:
    return data if isinstance(data, list) else [data]


def _mapping(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise ControlError("a JSON object is wanted")
    return data


def _count(data: Mapping[str, object], name: str) -> int | None:
    value = data.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"{name} must be a number of calls")
    return value


def _reply(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())

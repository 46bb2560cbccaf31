"""A Salesforce org to try everything without an account: the endpoints we use, over HTTP.

    with SandboxOrg() as org:
        org.add_tasks(["00T000000000001AAA"])
        org.inject(Fault(FaultKind.LOCK, count=3))
        ...  # any HTTP client, at org.url
        assert org.task("00T000000000001AAA")["SMS_Status__c"] == "Delivery"

As a process: `python -m processor.sandbox.org --host 0.0.0.0 --port 8080 --tasks-from-any`.

Start reading at `service.py` (one request from its bytes to its answer), then `rest.py`
(the resources), `tasks.py` (the rows), `faults.py` (what can be told to go wrong) and
`org_control.py` (how to tell it over HTTP). Not here: Bulk API 2.0, and creating records.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from processor.sandbox.org import control as org_control
from processor.sandbox.org.auth import TokenDesk
from processor.sandbox.org.faults import Fault, FaultKind, FaultPlan, RequestKind
from processor.sandbox.org.http import OrgHttpServer, bound_port
from processor.sandbox.org.late import LateQueue
from processor.sandbox.org.rest import Rest
from processor.sandbox.org.schema import FieldSpec, RowError, Schema, id_18, task_fields
from processor.sandbox.org.select import TaskReader
from processor.sandbox.org.service import Allocation, OldHost, Reply, Request, Service
from processor.sandbox.org.tasks import Task, TaskTable, Write

__all__ = [
    "Fault",
    "FaultKind",
    "FieldSpec",
    "OldHost",
    "OrgSettings",
    "RequestKind",
    "SandboxOrg",
    "Write",
    "id_18",
    "task_fields",
]

_WILDCARD_HOSTS: Final = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class OrgSettings:
    """What an org is like; the defaults fit most tests.

    `public_key_pem` (an RSA public key or certificate) makes the org verify the signature of JWT
    assertions. `tasks_from_any` makes every well-formed Id of a Task exist when it is first named.
    `public_url` is what clients are told as `instance_url`; without it the org's own address is
    used, or the request's Host where the org listens on all addresses. Of the log of writes the
    last `log_entries_max` are kept.
    """

    consumer_key: str = "sandbox-consumer-key"
    consumer_secret: str = "sandbox-consumer-secret"
    username: str = "processor@sandbox.example"
    public_key_pem: str | None = None
    token_lifetime_s: float = 7_200.0
    fields: tuple[FieldSpec, ...] = field(default_factory=task_fields)
    tasks_from_any: bool = False
    api_calls_max: int = 115_000
    log_entries_max: int = 2_000_000
    public_url: str | None = None


class SandboxOrg:
    """One org and its server. The data outlives `stop`, and the port is kept for `start` again."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, settings: OrgSettings | None = None
    ) -> None:
        self.settings = settings or OrgSettings()
        self._host = host
        self._port = port
        self._faults = FaultPlan()
        self._late = LateQueue()
        self._allocation = Allocation(self.settings.api_calls_max)
        self._stopping = threading.Event()
        self._table = TaskTable(
            Schema(self.settings.fields),
            lambda: time.time_ns() // 1_000_000,
            any_task=self.settings.tasks_from_any,
            log_entries_max=self.settings.log_entries_max,
        )
        self._desk = TokenDesk(
            consumer_key=self.settings.consumer_key,
            consumer_secret=self.settings.consumer_secret,
            username=self.settings.username,
            public_key_pem=self.settings.public_key_pem,
            token_lifetime_s=self.settings.token_lifetime_s,
        )
        self._reader = TaskReader(self._table)
        self._rest = Rest(self._table, self._reader, self._faults, self._allocation.limits)
        self._service = Service(
            self._rest, self._desk, self._faults, self._late, self._allocation, self._stopping
        )
        self._server: OrgHttpServer | None = None
        self._thread: threading.Thread | None = None

    # -- life --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the org is reached; its port is known once it has been started."""
        host = "127.0.0.1" if self._host in _WILDCARD_HOSTS else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> Self:
        """Listen. After `stop` on the same port again, with the same Tasks, log and sessions."""
        if self._server is not None:
            raise RuntimeError("the org is running already")
        self._stopping.clear()
        server = OrgHttpServer((self._host, self._port), self._respond)
        self._port = bound_port(server)
        self._late.start()
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.05,), name="sandbox-org", daemon=True
        )
        self._thread.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Stop as a crash would: connections end, what was to be applied late never is."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        self._stopping.set()
        self._late.stop()
        server.shutdown()
        server.end_connections()
        server.server_close()
        thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- controls: the same as over HTTP, see `org_control` ----------------------------------------

    def inject(self, *faults: Fault) -> None:
        """Arm faults, in this order."""
        for fault in faults:
            self._faults.add(fault)

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self._faults.clear()

    def faults(self) -> list[dict[str, object]]:
        """Return the faults that can still happen."""
        return self._faults.waiting()

    def release_late(self) -> int:
        """Apply at once what waits to be applied late; return how many requests that were."""
        return self._late.release()

    def add_tasks(self, task_ids: Iterable[str]) -> None:
        """Add Tasks by their Ids of 15 or 18 characters; raise ValueError for another Id."""
        for task_id in task_ids:
            self._table.add(task_id)

    def add_task(self, task_id: str, values: Mapping[str, object] | None = None) -> None:
        """Add or overwrite a Task with fields; raise ValueError. It is no entry in the log."""
        self._table.add(task_id, values)

    def delete_tasks(self, task_ids: Iterable[str]) -> None:
        """Delete Tasks, as a user would; raise KeyError for one that is not there."""
        for task_id in task_ids:
            self._table.delete(task_id)

    def task(self, task_id: str) -> dict[str, object]:
        """Return the fields of a Task as Salesforce gives them; raise KeyError."""
        with self._table.lock:
            found = self._table.find(task_id)
            if isinstance(found, RowError):
                raise KeyError(f"{task_id}: {found.message}")
            return self._fields(found)

    def tasks(self, task_ids: Iterable[str] | None = None) -> list[dict[str, object]]:
        """Return these Tasks, or all; raise KeyError."""
        if task_ids is not None:
            return [self.task(task_id) for task_id in task_ids]
        with self._table.lock:
            return [self._fields(task) for task in self._table.all_tasks()]

    def writes(self, after: int = 0, limit: int | None = None) -> list[Write]:
        """Return the log of writes in the order of application, from after a sequence number."""
        return self._table.log(after, limit)

    def expire_tokens(self) -> int:
        """End every session; return how many there were."""
        return self._desk.expire_all()

    def move(self, old_host: OldHost) -> None:
        """Move to another host; sessions from before are answered by the one that was left."""
        self._service.old_host = old_host
        self._desk.move()

    def set_scope(self, scope: str) -> None:
        """Set the OAuth scopes that logins grant from now on; without `api` they are of no use."""
        self._desk.scope = scope

    def set_limit(self, calls_max: int | None = None, used: int | None = None) -> None:
        """Set the allocation of API calls, or what is used of it."""
        if calls_max is not None:
            self._allocation.calls_max = calls_max
        if used is not None:
            self._allocation.used = used

    def stats(self) -> dict[str, object]:
        """Return what has happened so far, in plain numbers."""
        return {
            "requests": dict(self._service.requests),
            "statuses": dict(self._service.statuses),
            "subrequests": dict(self._rest.subrequests),
            "rows": {
                "written": self._table.rows_written,
                "failed": self._table.rows_failed,
                "read": self._reader.rows_read,
            },
            "api_calls": {"used": self._allocation.used, "max": self._allocation.calls_max},
            "faults": self._faults.happened(),
            "late_pending": self._late.pending(),
            "logins": self._desk.issued,
            "callers": {kind: dict(by) for kind, by in self._service.callers.items()},
            "writes_that_may_auto_assign": self._service.writes_that_may_auto_assign,
        }

    def _fields(self, task: Task) -> dict[str, object]:
        return {spec.name: self._table.value(task, spec.name) for spec in self._table.schema.fields}

    def _respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        if target.startswith(org_control.PREFIX):
            return org_control.control(self, method, target, body)
        own_url = self.settings.public_url or self.url
        if self.settings.public_url is None and self._host in _WILDCARD_HOSTS:
            own_url = f"http://{headers.get('host', own_url.removeprefix('http://'))}"
        request = Request(self._service.next_id(), method, target, headers, body, own_url)
        return self._service.handle(request)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one org until SIGTERM or SIGINT."""
    default = OrgSettings()
    parser = argparse.ArgumentParser(prog="python -m processor.sandbox.org", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any free port")
    parser.add_argument("--tasks-from-any", action="store_true", help="any Id of a Task exists")
    parser.add_argument("--public-url", help="what clients are told as instance_url")
    parser.add_argument("--consumer-key", default=default.consumer_key)
    parser.add_argument("--consumer-secret", default=default.consumer_secret)
    parser.add_argument("--username", default=default.username)
    parser.add_argument("--api-calls-max", type=int, default=default.api_calls_max)
    parser.add_argument("--log-entries-max", type=int, default=200_000, help="about 0.5 kB each")
    parser.add_argument("--code-type", choices=("string", "double"), default="string")
    options = parser.parse_args(arguments)
    settings = OrgSettings(
        consumer_key=options.consumer_key,
        consumer_secret=options.consumer_secret,
        username=options.username,
        fields=task_fields(options.code_type),
        tasks_from_any=options.tasks_from_any,
        api_calls_max=options.api_calls_max,
        log_entries_max=options.log_entries_max,
        public_url=options.public_url,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with SandboxOrg(options.host, options.port, settings) as org:
        print(f"sandbox org listening on {org.url}", flush=True)
        ended.wait()
    return 0

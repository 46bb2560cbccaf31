"""A server that answers as it is told, for answers that a sandbox org never gives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    """Seconds between one kilobyte of the body and the next."""


def as_json(status: int, body: object, **headers: str) -> Reply:
    return Reply(status, json.dumps(body).encode(), headers)


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Stub:
    """Replies by path, the last one for ever; requests as they came."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[Request] = []
        self.url = ""

    def on(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        waiting = self.replies.get(request.path.partition("?")[0], [Reply(404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def stub_server() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = stub.answer(Request(self.command, self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            try:
                self._write(reply)
            except ConnectionError:
                self.close_connection = True  # the client has given up

        do_GET = do_PATCH = do_POST  # noqa: N815 - the base's names

        def _write(self, reply: Reply) -> None:
            if not reply.drip_s:
                self.wfile.write(reply.body)
                return
            for start in range(0, len(reply.body), 1024):
                self.wfile.write(reply.body[start : start + 1024])
                time.sleep(reply.drip_s)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

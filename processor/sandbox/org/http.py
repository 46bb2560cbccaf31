"""The wire of the sandbox org: HTTP/1.1 with keep-alive on the standard library."""

from __future__ import annotations

import gzip
import json
import socket
import string
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

from processor.sandbox.org.schema import ApiError
from processor.sandbox.org.service import JSON_TYPE, Ending, Reply

# Salesforce's limit on the request line and headers together (414 or 431 above it).
HEAD_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 50 * 1024 * 1024  # the largest body of a REST request

Respond = Callable[[str, str, dict[str, str], bytes], Reply]


class OrgHttpServer(ThreadingHTTPServer):
    """Serves until it is closed; closing ends the open connections too, as a crash would."""

    daemon_threads = False  # so that closing waits for the threads of the connections
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], respond: Respond) -> None:
        self.respond = respond
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for the host's name, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that it can be ended."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; one that lingers for no time is reset, without a farewell."""
        with self._open_lock:
            self._open.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _RESET_ON_CLOSE:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def end_connections(self) -> None:
        """End every open connection."""
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that goes away in the middle of an answer; that is normal."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


_CHUNK_LINE_MAX: Final = 1_024  # bytes of a chunk's size and extensions, or of a trailer
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def _too_large() -> ApiError:
    return ApiError(413, "REQUEST_ENTITY_TOO_LARGE", "The body is too large")


def _size(text: str, digits: str) -> int:
    """Of a body or a chunk, in bytes: nothing but digits, which are decimal or hexadecimal."""
    if not text or not set(text) <= set(digits):
        raise ApiError(400, "BAD_REQUEST", "A length is no number")
    size = int(text, 10 if digits == string.digits else 16)
    if size > BODY_BYTES_MAX:
        raise _too_large()
    return size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: OrgHttpServer

    def _serve(self) -> None:
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
        except ApiError as error:
            self.close_connection = True  # the body was not read: nothing sensible follows
            self._send(_error_reply(error))
            return
        self._send(self.server.respond(self.command, self.path, headers, body))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the base's names

    def _body(self, headers: dict[str, str]) -> bytes:
        if len(self.path) > HEAD_BYTES_MAX:
            raise ApiError(414, "URI_TOO_LONG", "The URI is too long")
        head_bytes = len(self.path) + sum(len(k) + len(v) + 4 for k, v in headers.items())
        if head_bytes > HEAD_BYTES_MAX:
            raise ApiError(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "The headers are too large")
        encoding = headers.get("transfer-encoding")
        if encoding is None:
            body = self.rfile.read(_size(headers.get("content-length", "0"), string.digits))
        elif encoding.lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            raise ApiError(411, "LENGTH_REQUIRED", "Content-Length is required")
        if headers.get("content-encoding", "") != "gzip":
            return body
        try:
            return gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            raise ApiError(400, "JSON_PARSER_ERROR", "The body is not gzip") from None

    def _chunks(self) -> Iterator[bytes]:
        """RFC 9112, section 7.1: how jsforce and Salesforce's own library for Node send bodies."""
        left = BODY_BYTES_MAX
        while size := _size(self._line().partition(";")[0].strip(), string.hexdigits):
            left -= size
            if left < 0:
                raise _too_large()
            yield self.rfile.read(size)
            if self._line():
                raise ApiError(400, "BAD_REQUEST", "A chunk is longer than it says")
        while self._line():
            pass  # trailers

    def _line(self) -> str:
        return self.rfile.readline(_CHUNK_LINE_MAX).decode("latin-1").strip()

    def _send(self, reply: Reply) -> None:
        if reply.ending is Ending.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close_connection = True
            return
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        if reply.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Type: {reply.content_type}")
            lines.append(f"Content-Length: {len(reply.body)}")
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if self.close_connection or reply.ending is Ending.CUT:
            lines.append("Connection: close")
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        body = reply.body
        if reply.ending is Ending.CUT:
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(head + body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that the base class could not read, in JSON like all else."""
        self.close_connection = True
        text = message or explain or _phrase(code)
        self._send(_error_reply(ApiError(code, "BAD_REQUEST", text)))

    def log_message(self, *_arguments: object) -> None:
        """Stay silent: the statistics tell what happened."""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _error_reply(error: ApiError) -> Reply:
    return Reply(error.status, json.dumps(error.body()).encode(), JSON_TYPE)


def bound_port(server: OrgHttpServer) -> int:
    """Return the port that the server listens on."""
    return server.server_address[1]

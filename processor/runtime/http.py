"""/metrics, /healthz and /readyz, on a thread of their own."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from processor.errors import ConfigError
from processor.ports import Clock
from processor.runtime.hosts import bare

log = logging.getLogger(__name__)

Probe = Callable[[], tuple[bool, str]]
"""Whether all is well, and a word on why not."""

_REQUEST_TIMEOUT_S: Final = 10.0  # a client that says nothing for so long is hung up on
_OF_THE_PORT: Final = (errno.EADDRINUSE, errno.EACCES)
_TEXT: Final = "text/plain; charset=utf-8"


class Heartbeat:
    """Healthy while `beat` was called within the limit. Called from the loop; asked by a thread."""

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._last_s = clock.monotonic_s()

    def beat(self) -> None:
        self._last_s = self._clock.monotonic_s()

    def probe(self) -> tuple[bool, str]:
        """A `Probe`."""
        age_s = self._clock.monotonic_s() - self._last_s
        if age_s <= self._limit_s:
            return True, "ok"
        return False, f"the loop has not turned for {age_s:.0f} s"


def _family(host: str, port: int) -> socket.AddressFamily:
    """Of the address. Raises OSError where it is none, OverflowError for a port that is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0]


class HttpServer:
    """Serves from `start` to `close`. Port 0 takes any free one, which `port` then tells; the host
    `::` takes IPv4 too.

    `healthy` answers /healthz (restart me if not), `ready` /readyz. Raises ConfigError when the
    address can't be listened on.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, healthy: Probe, ready: Probe
    ) -> None:
        try:
            self._server = _Server((bare(host), port), registry, healthy, ready)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) in _OF_THE_PORT:
                raise ConfigError(
                    f"HTTP__PORT: can't listen on port {port} of {host} ({why}); "
                    "write one that is free and that this user may take (1024 or more)"
                ) from error
            raise ConfigError(
                f"HTTP__HOST: can't listen on {host} ({why}); write an address of this "
                "machine, 0.0.0.0 for all, or :: for all with IPv6"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="http", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop serving. May be called more than once, and without `start`."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not hold up a stop

    def __init__(
        self,
        address: tuple[str, int],
        registry: CollectorRegistry,
        healthy: Probe,
        ready: Probe,
    ) -> None:
        self.registry = registry
        self.probes = {"/healthz": healthy, "/readyz": ready}
        self.address_family = _family(*address)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # HTTPServer's asks the DNS for a name that nobody needs
        self.server_name, self.server_port = "processor", int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base's
        """A client that has hung up is not our concern; anything else is a bug."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error(
                "HTTP request failed, which is a bug: report it, with this line", exc_info=error
            )


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "processor"
    sys_version = ""
    timeout = _REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        elif path in self.server.probes:
            well, word = self.server.probes[path]()
            self._answer(200 if well else 503, f"{word}\n".encode())
        else:
            self._answer(404, b"not found: try /metrics, /healthz, /readyz\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Probes and scrapes are not news."""

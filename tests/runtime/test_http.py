"""The HTTP server: metrics for Prometheus, answers for probes, and it never holds up a stop."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter

from processor.cli import main
from processor.errors import ConfigError
from processor.runtime.http import Heartbeat, HttpServer
from tests.support.clocks import HandTurnedClock
from tests.support.patience import patient


class Health:
    def __init__(self) -> None:
        self.well = (True, "ok")
        self.ready = (False, "restoring 2 partitions")


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[HttpServer]:
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    server = HttpServer("127.0.0.1", 0, registry, lambda: health.well, lambda: health.ready)
    server.start()
    yield server
    server.close()


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    request = Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urlopen(request, timeout=patient(5)) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_are_those_of_the_registry(server: HttpServer) -> None:
    status, content_type, body = get(server, "/metrics?from=prometheus")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "things_total 3.0" in body


def test_a_probe_tells_yes_or_no_and_why(server: HttpServer, health: Health) -> None:
    assert get(server, "/healthz")[::2] == (200, "ok\n")
    assert get(server, "/readyz")[::2] == (503, "restoring 2 partitions\n")
    health.ready, health.well = (True, "ready"), (False, "stuck")
    assert get(server, "/healthz")[::2] == (503, "stuck\n")
    assert get(server, "/readyz")[::2] == (200, "ready\n")


def test_anything_else_is_not_found(server: HttpServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics/x")[0] == 404
    assert get(server, "/metrics", "POST")[0] == 501


def test_head_has_no_body(server: HttpServer) -> None:
    assert get(server, "/healthz", "HEAD")[::2] == (200, "")


def test_a_client_that_says_nothing_holds_up_neither_others_nor_the_stop(
    server: HttpServer,
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200
        server.close()
    server.close()


def test_a_probe_that_breaks_is_logged(
    server: HttpServer, health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    del health.well
    with pytest.raises(OSError, match=r"closed|reset"):
        get(server, "/healthz")
    server.close()
    assert "HTTP request failed" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_a_port_that_is_taken_is_a_setting_to_change(server: HttpServer) -> None:
    with pytest.raises(ConfigError, match=r"HTTP__PORT: .* write one that is free"):
        HttpServer("127.0.0.1", server.port, CollectorRegistry(), *[lambda: (True, "")] * 2)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "2001:db8::1", "a..b"])
def test_an_address_of_another_machine_is_a_setting_to_change(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"HTTP__HOST: can't listen on {host} .*0\.0\.0\.0"):
        HttpServer(host, 0, CollectorRegistry(), *[lambda: (True, "")] * 2)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("::", ("127.0.0.1", "::1")),
        ("[::]", ("127.0.0.1", "::1")),
        ("::1", ("::1",)),
        ("0.0.0.0", ("127.0.0.1",)),  # noqa: S104 - that is the point
        ("127.0.0.1", ("127.0.0.1",)),
        ("localhost", ("localhost",)),
    ],
)
def test_every_address_of_the_machine_can_be_listened_on(
    host: str, reached: tuple[str, ...], health: Health, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server = HttpServer(host, 0, CollectorRegistry(), lambda: health.well, lambda: health.ready)
    server.start()
    try:
        for address in reached:
            with socket.create_connection((address, server.port), 5) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert b" 200 " in connection.recv(100)
        monkeypatch.setenv("PROCESSOR_HTTP__HOST", host)
        monkeypatch.setenv("PROCESSOR_HTTP__PORT", str(server.port))
        assert main(["health"]) == 0
        assert capsys.readouterr().out == "ok\n"
        health.well = (False, "the loop has not turned for 200 s")
        assert main(["health"]) == 1
        assert capsys.readouterr().out == "the loop has not turned for 200 s\n"
    finally:
        server.close()
    assert main(["health"]) == 1
    assert f"port {server.port}: " in capsys.readouterr().out


def test_a_server_that_was_not_started_can_be_closed() -> None:
    HttpServer("127.0.0.1", 0, CollectorRegistry(), *[lambda: (True, "")] * 2).close()


def test_the_heart_has_stopped_when_the_loop_has_not_turned_for_the_limit() -> None:
    clock = HandTurnedClock()
    heart = Heartbeat(clock, limit_s=60)
    assert heart.probe() == (True, "ok")
    clock.seconds += 60
    assert heart.probe() == (True, "ok")
    clock.seconds += 5
    assert heart.probe() == (False, "the loop has not turned for 65 s")
    heart.beat()
    assert heart.probe() == (True, "ok")

"""A real Apache Kafka (KRaft, one node) on this machine, for the sandbox, tests and benchmark.

As a process: `python -m processor.sandbox.servers.kafka` (needs Java and Maven).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from processor.errors import ProcessorError, Unavailable
from processor.sandbox.servers.java import JavaServer, fetched, free_ports, listens

KAFKA_VERSION = "4.3.1"  # as in kafka-pom.xml

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "inter.broker.listener.name": "CLIENTS",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
}


def _libraries() -> Path:
    pom = Path(__file__).with_name("kafka-pom.xml")
    return fetched(
        f"kafka-{KAFKA_VERSION}",
        ["-f", str(pom), "dependency:copy-dependencies"],
    )


class Listener(NamedTuple):
    """One more way to a broker. `proxy_port`: of a proxy to its port, to which clients are told to
    come back.
    """

    protocol: str = "PLAINTEXT"
    proxy_port: int | None = None


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


_LOGGING = """\
appender.file.type = Console
appender.file.name = out
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
"""
_LOGGING_FILE = "log4j2.properties"


class KafkaServer(JavaServer):
    """One broker with its own ports and a temporary data directory.

    `settings` overrides server properties; `listeners` are more than the one for clients, by name
    (see `port`). Stopped and started again it keeps ports and data.
    Raises ConfigError when Java or Maven is missing, Unavailable when it does not start.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        heap: str = "512m",
        listeners: Mapping[str, Listener] | None = None,
    ) -> None:
        self._libraries = _libraries()
        super().__init__("kafka")
        self._heap = heap
        ways = {"CLIENTS": Listener(), "CONTROLLER": Listener(), **(listeners or {})}
        self._ports = dict(zip(ways, free_ports(len(ways)), strict=True))
        advertised = {name: way.proxy_port or self._ports[name] for name, way in ways.items()}
        del advertised["CONTROLLER"]
        protocols = ",".join(f"{name}:{way.protocol}" for name, way in ways.items())
        self._format(
            {
                **_SETTINGS,
                "listener.security.protocol.map": protocols,
                "listeners": _addresses(self._ports),
                "advertised.listeners": _addresses(advertised),
                "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._ports['CONTROLLER']}",
                "log.dirs": str(self._directory / "data"),
                **(settings or {}),
            }
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port('CLIENTS')}"

    def port(self, listener: str) -> int:
        """Of a listener, by its name."""
        return self._ports[listener]

    def _arguments(self) -> list[str]:
        return [f"-Xmx{self._heap}", *self._class_path(), "kafka.Kafka", "server.properties"]

    def _answers(self) -> bool:
        return listens(self.port("CLIENTS"))

    def _class_path(self) -> list[str]:
        return ["-cp", f"{self._libraries}/*", f"-Dlog4j2.configurationFile={_LOGGING_FILE}"]

    def _format(self, settings: Mapping[str, str]) -> None:
        lines = (f"{name}={value}\n" for name, value in settings.items())
        (self._directory / "server.properties").write_text("".join(lines))
        (self._directory / _LOGGING_FILE).write_text(_LOGGING)
        tool = ["java", *self._class_path(), "kafka.tools.StorageTool"]
        identity = subprocess.run(
            [*tool, "random-uuid"],
            cwd=self._directory,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split()[-1]
        done = subprocess.run(
            [*tool, "format", "--standalone", "-t", identity, "-c", "server.properties"],
            cwd=self._directory,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise Unavailable(f"Kafka's storage could not be formatted: {done.stderr[-2000:]}")


def main() -> int:
    """Run one broker until SIGTERM or SIGINT; its data goes with it."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        with KafkaServer() as server:
            print(f"Kafka listening on {server.bootstrap_servers}", flush=True)
            ended.wait()
    except ProcessorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A real Apache Kafka (KRaft, one node) on this machine, for the sandbox, tests and benchmark."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from processor.errors import Unavailable
from processor.sandbox.java import JavaProcess, fetched, free_ports, listens

KAFKA_VERSION = "4.3.1"  # as in kafka-pom.xml
START_TIMEOUT_S = 60

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "inter.broker.listener.name": "CLIENTS",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
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


_LOGGING = """\
appender.file.type = Console
appender.file.name = out
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
"""
_LOGGING_FILE = "log4j2.properties"


class KafkaServer:
    """One broker with its own ports and a temporary data directory.

    `settings` overrides server properties. Stopped and started again it keeps ports and data.
    Raises ConfigError when Java or Maven is missing, Unavailable when it does not start.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, heap: str = "512m") -> None:
        self._libraries = _libraries()
        self._heap = heap
        self._directory = Path(tempfile.mkdtemp(prefix="kafka-"))
        clients, controller = free_ports(2)
        self._port = clients
        self._process: JavaProcess | None = None
        self._format(
            {
                **_SETTINGS,
                "listeners": f"CLIENTS://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"CLIENTS://127.0.0.1:{clients}",
                "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
                "log.dirs": str(self._directory / "data"),
                **(settings or {}),
            }
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Return when the broker accepts connections. Does nothing where it runs already."""
        if self._process is not None:
            return
        arguments = [f"-Xmx{self._heap}", *self._class_path(), "kafka.Kafka", "server.properties"]
        self._process = JavaProcess(arguments, self._directory / "server.log", self._directory)
        self._process.wait_until(lambda: listens(self._port), START_TIMEOUT_S)

    def stop(self) -> None:
        """Shut down in order; data and ports stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop answering, with every connection left open, until `thaw`."""
        if self._process is not None:
            self._process.freeze()

    def thaw(self) -> None:
        if self._process is not None:
            self._process.thaw()

    def close(self) -> None:
        """Stop, and remove the data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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

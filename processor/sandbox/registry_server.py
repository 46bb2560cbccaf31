"""A real Schema Registry (Apicurio, with Confluent's API) on this machine."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from processor.sandbox.java import JavaProcess, fetched, free_ports

VERSION = "3.0.9"  # the last that runs on Java 17
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
START_TIMEOUT_S = 120  # 15 s alone, 40 s on a busy machine


def _unpack(folder: Path) -> None:
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
        archive.unlink()


class RegistryServer:
    """One registry that keeps its schemas in memory.

    Raises ConfigError when Java or Maven is missing, Unavailable when it does not start.
    """

    def __init__(self) -> None:
        folder = fetched(
            f"registry-{VERSION}", ["dependency:copy", f"-Dartifact={ARTIFACT}"], _unpack
        )
        self._jar = next(folder.rglob("*-runner.jar"))
        self._directory = Path(tempfile.mkdtemp(prefix="registry-"))
        (self._port,) = free_ports(1)
        self._process: JavaProcess | None = None

    @property
    def url(self) -> str:
        """The base of Confluent's API."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Return when the registry answers. Does nothing where it runs already."""
        if self._process is not None:
            return
        arguments = [
            "-Xmx256m",
            f"-Dquarkus.http.port={self._port}",
            "-Dquarkus.http.host=127.0.0.1",
            "-jar",
            str(self._jar),
        ]
        self._process = JavaProcess(arguments, self._directory / "server.log", self._directory)
        self._process.wait_until(self._answers, START_TIMEOUT_S)

    def stop(self) -> None:
        """End it. What was registered is gone."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def close(self) -> None:
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

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/subjects", timeout=2).ok
        except requests.RequestException:
            return False

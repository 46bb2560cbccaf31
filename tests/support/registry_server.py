"""A real Schema Registry (Apicurio, with Confluent's API) on this machine."""

from __future__ import annotations

import tarfile
from pathlib import Path

import requests

from processor.sandbox.servers.java import JavaServer, fetched, free_ports

VERSION = "3.0.9"  # the last that runs on Java 17
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"


def _unpack(folder: Path) -> None:
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
        archive.unlink()


class RegistryServer(JavaServer):
    """One registry that keeps its schemas in memory: stopped, it has forgotten them.

    Raises ConfigError when Java or Maven is missing, Unavailable when it does not start.
    """

    def __init__(self) -> None:
        folder = fetched(
            f"registry-{VERSION}", ["dependency:copy", f"-Dartifact={ARTIFACT}"], _unpack
        )
        super().__init__("registry")
        self._jar = next(folder.rglob("*-runner.jar"))
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        """The base of Confluent's API."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def _arguments(self) -> list[str]:
        return [
            "-Xmx256m",
            f"-Dquarkus.http.port={self._port}",
            "-Dquarkus.http.host=127.0.0.1",
            "-jar",
            str(self._jar),
        ]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/subjects", timeout=2).ok
        except requests.RequestException:
            return False

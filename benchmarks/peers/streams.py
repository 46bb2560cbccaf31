"""The program of `benchmarks/kafka_streams`: its libraries fetched, its sources compiled, once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from processor.errors import ConfigError
from processor.sandbox.servers import java

SOURCES: Final = Path(__file__).parents[1] / "kafka_streams"
SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
STREAMS_VERSION: Final = "4.3.1"  # as in pom.xml
JVM: Final = (
    *("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)


def why_not() -> str | None:
    """What is missing on this machine to compile and run it; None: nothing."""
    if shutil.which("javac") is None:
        return "not on the PATH: javac (a JDK of Java 17)"
    return java.why_not()


def class_path(sources: Path = SOURCES) -> str:
    """Libraries and classes. Raises ConfigError when they can't be had."""
    if reason := why_not():
        raise ConfigError(reason)
    pom = sources / "pom.xml"
    libraries = java.fetched(
        f"kafka-streams-{STREAMS_VERSION}", ["-f", str(pom), "dependency:copy-dependencies"]
    )
    return f"{_compiled(sources, libraries)}:{libraries}/*"


def _compiled(sources: Path, libraries: Path) -> Path:
    files = sorted(sources.glob("*.java"))
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]

    def compile_to(folder: Path) -> None:
        done = subprocess.run(
            ["javac", "-d", str(folder), "-cp", f"{libraries}/*", *map(str, files)],
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise ConfigError(f"{sources} does not compile: {done.stderr[-2000:]}")

    return java.kept(f"kafka-streams-classes-{digest}", compile_to)

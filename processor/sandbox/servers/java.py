"""Java servers for the sandbox and the tests: fetched by Maven once, and never left running."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from processor.errors import ConfigError, Unavailable

_log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 600
START_TIMEOUT_S: Final = 600  # for one that hangs: Kafka takes 2 s, the registry 15 s or minutes
STOP_TIMEOUT_S: Final = 20

# Below those that systems give to outgoing connections (Linux: from 32768, macOS: from 49152):
# a server that is down for a moment must find its port free when it is started again.
_PORTS: Final = range(20_000, 32_000)


def why_not() -> str | None:
    """What is missing on this machine to run a Java program; None: nothing."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"not on the PATH: {', '.join(missing)} (Java 17 and Maven)" if missing else None


def cache_directory() -> Path:
    """Where fetched programs are kept: `.cache` of the checkout, else the user's cache."""
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sms-status-processor"


def fetched(
    name: str, arguments: Sequence[str], unpack: Callable[[Path], None] | None = None
) -> Path:
    """The folder with what `mvn ARGUMENTS -DoutputDirectory=…` copies, fetched at the first use.

    `unpack` is called once with the folder. Raises ConfigError when Java or Maven is missing,
    or Maven can't fetch.
    """
    if reason := why_not():
        raise ConfigError(reason)

    def fetch(folder: Path) -> None:
        _log.info("fetching with Maven", extra={"artifact": name})
        done = subprocess.run(
            ["mvn", "-q", "-B", *arguments, f"-DoutputDirectory={folder}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=FETCH_TIMEOUT_S,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise ConfigError(f"Maven could not fetch {name}: {done.stdout.strip()[-2000:]}")
        if unpack is not None:
            unpack(folder)

    return kept(name, fetch)


def kept(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, filled at the first use. A folder that `fill` refused
    by a ConfigError, which is raised again, is not kept.
    """
    target = cache_directory() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
    try:
        fill(partial)
    except ConfigError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    try:
        partial.rename(target)
    except OSError:  # somebody else was faster
        shutil.rmtree(partial, ignore_errors=True)
    return target


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    raise Unavailable(f"no {count} free ports in {_PORTS}")


class JavaProcess:
    """A server in a process of its own, which ends when this one does, however it ends."""

    def __init__(self, command: Sequence[str], log_file: Path, directory: Path) -> None:
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                start_new_session=True,  # a Ctrl-C at the terminal is ours, not the server's
            )
        self._log_file = log_file
        # Reads from a pipe whose other end is ours: when we are gone, it ends and kills.
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read line; kill -9 {self._process.pid} 2>/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Return once the server answers. Raises Unavailable when it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._log_file.read_text(errors="replace")[-2000:]
                raise Unavailable(f"the server did not start; its log ends with:\n{tail}")
            time.sleep(0.1)  # a server says by its answers alone that it has started

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End it at once (kill -9)."""
        self._guard.kill()
        self._guard.communicate()
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it without ending it: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class JavaServer(ABC):
    """A server with a folder of its own, which it keeps when it is stopped and started again.

    A subclass says how it is run (`_arguments`) and whether it is up (`_answers`).
    """

    def __init__(self, name: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._process: JavaProcess | None = None

    @abstractmethod
    def _arguments(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def start(self) -> None:
        """Return when it answers. Does nothing where it runs already. Raises Unavailable."""
        if self._process is None:
            log_file = self._directory / "server.log"
            self._process = JavaProcess(self._arguments(), log_file, self._directory)
            self._process.wait_until(self._answers, START_TIMEOUT_S)

    def stop(self) -> None:
        """Shut down in order."""
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


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

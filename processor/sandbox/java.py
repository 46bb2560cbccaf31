"""Java servers for the sandbox and the tests: fetched by Maven once, and never left running."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from processor.errors import ConfigError, Unavailable

_log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 600
STOP_TIMEOUT_S = 20


def why_not() -> str | None:
    """What is missing on this machine to run a Java program; None: nothing."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"not on the PATH: {', '.join(missing)} (Java 17 and Maven)" if missing else None


def cache_directory() -> Path:
    """Where fetched programs are kept: `.cache` of the checkout, else the user's cache."""
    checkout = Path(__file__).resolve().parents[2]
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
    target = cache_directory() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
    _log.info("fetching %s with Maven", name)
    done = subprocess.run(
        ["mvn", "-q", "-B", *arguments, f"-DoutputDirectory={partial}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=FETCH_TIMEOUT_S,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise ConfigError(f"Maven could not fetch {name}: {done.stdout.strip()[-2000:]}")
    if unpack is not None:
        unpack(partial)
    try:
        partial.rename(target)
    except OSError:  # somebody else was faster
        shutil.rmtree(partial, ignore_errors=True)
    return target


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


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
            time.sleep(0.1)

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


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

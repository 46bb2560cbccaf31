"""A contender in a process of its own, and what the process cost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import IO, Any, Self


class Contender:
    """A running process that prints one JSON object when it is done.

    `ask` tells it to end by closing its standard input; one that has a number of events to read
    ends by itself.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> None:
        _of(self._process.stdin).close()

    def result(self) -> dict[str, Any]:
        """Wait for the end. What it printed, with the cost of the whole process from its first
        instruction on: `process_cpu_s`, and `peak_memory_mb` (resident, so mapped files as well).
        """
        printed = _of(self._process.stdout).read()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != 0:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        result: dict[str, Any] = json.loads(printed)
        result["process_cpu_s"] = round(usage.ru_utime + usage.ru_stime, 2)
        result["peak_memory_mb"] = usage.ru_maxrss // 1024
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self.ask()
        _of(self._process.stdout).close()


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream

"""docs/first-run.md, box by box, in a folder of its own and on ports that are free here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from processor.sandbox.servers.java import free_ports
from tests.integration.kit import Broker
from tests.integration.stage import wait
from tests.project.test_docs import boxes
from tests.support.patience import patient

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DOCUMENT = Path(__file__).parents[2] / "docs" / "first-run.md"
ALONE = "# in a terminal of its own\n"


class Reader:
    """Somebody who does what is written, with other ports."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.org, self.metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._folder = folder
        self._replaced = {
            "127.0.0.1:29092": kafka,
            "127.0.0.1:8080": self.org,
            "--port 8080": f"--port {self.org.partition(':')[2]}",
            "127.0.0.1:9108": self.metrics,
            ".venv/bin/": f"{Path(sys.executable).parent}/",
        }
        self._exports = f"export PROCESSOR_HTTP__PORT={self.metrics.partition(':')[2]}\n"
        self._terminals: list[subprocess.Popen[bytes]] = []

    def types(self, box: str) -> str:
        """What a box that ends printed."""
        text = self._here(box)
        done = subprocess.run(
            ["bash", "-euc", self._exports + text],
            cwd=self._folder, capture_output=True, text=True, timeout=patient(60), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self._exports += "".join(re.findall(r"^export .*\n", text, re.MULTILINE))
        return done.stdout

    def leaves_running(self, box: str) -> None:
        """A box for a terminal of its own."""
        with (self._folder / "terminals.log").open("ab") as log:
            self._terminals.append(
                subprocess.Popen(
                    ["bash", "-euc", self._exports + self._here(box)],
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def said(self) -> str:
        return (self._folder / "terminals.log").read_text()

    def close(self) -> None:
        for terminal in self._terminals:
            os.killpg(terminal.pid, signal.SIGTERM)
        for terminal in self._terminals:
            terminal.wait(patient(60))

    def _here(self, box: str) -> str:
        for written, here in self._replaced.items():
            box = box.replace(written, here)
        return box


@pytest.fixture
def reader(kafka: Broker, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(kafka.bootstrap_servers, tmp_path)
    yield reader
    reader.close()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=patient(5)).ok
    except requests.RequestException:
        return False


def test_a_first_run_goes_as_it_is_written(reader: Reader) -> None:
    org, settings, check, run, look, down, traffic = boxes(DOCUMENT, "sh")
    for alone in (org, run, traffic):
        assert alone.startswith(ALONE)

    reader.leaves_running(org)
    wait("the org", lambda: answers(f"http://{reader.org}/__sandbox__/stats"))
    reader.types(settings)
    lines = reader.types(check).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("ok ") for line in lines)

    reader.leaves_running(run)
    wait("ready", lambda: answers(f"http://{reader.metrics}/readyz"))
    said = reader.types(look)
    assert said.startswith("sent 1, bad 0\n")
    tasks = json.loads(said.splitlines()[1])["tasks"]
    assert [(task["SMS_Status_Code__c"], task["SMS_Status__c"]) for task in tasks] == [
        ("220", "Delivery")
    ]
    assert "sms_processor_rows_owed" in said

    reader.leaves_running(traffic)
    assert json.loads(reader.types(down)) == {"injected": 1}
    wait("rows are owed", lambda: owed(reader) > 0)


def owed(reader: Reader) -> float:
    text = requests.get(f"http://{reader.metrics}/metrics", timeout=patient(5)).text
    found = re.findall(r"^sms_processor_rows_owed\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))

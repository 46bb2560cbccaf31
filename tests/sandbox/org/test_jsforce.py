"""jsforce, a client that was not made for the sandbox org, can use it. (simple-salesforce can too:
test_login.py.)
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from processor.errors import ConfigError
from processor.sandbox.org.auth import ORG_ID
from processor.sandbox.org.server import SandboxOrg
from processor.sandbox.servers.java import kept
from tests.salesforce.org_client import SETTINGS, task_id
from tests.support.needs import do_without
from tests.support.patience import patient

HERE: Final = Path(__file__).parent / "jsforce"
TASKS: Final = [task_id(number) for number in range(200)]
INSTALL_TIMEOUT_S: Final = 300.0
TIMEOUT_S: Final = 60.0


@pytest.fixture
def org() -> Iterator[SandboxOrg]:
    with SandboxOrg() as org:
        org.add_tasks(TASKS)
        yield org


def jsforce() -> Path:
    """The folder with its modules, as locked; fetched at the first use."""
    version = json.loads((HERE / "package.json").read_text())["dependencies"]["jsforce"]

    def install(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command,
            cwd=folder,
            timeout=INSTALL_TIMEOUT_S,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise ConfigError(f"npm: {done.stderr[-500:]}")

    return kept(f"jsforce-{version}", install)


def test_jsforce_logs_in_describes_updates_and_queries(org: SandboxOrg) -> None:
    """It sends the bodies of its logins in chunks, without a length."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            do_without(f"{tool} is not on the PATH (Debian: nodejs, npm)")
    arguments = [org.url, SETTINGS.consumer_key, SETTINGS.consumer_secret, json.dumps(TASKS)]
    done = subprocess.run(
        ["node", HERE / "client.js", jsforce(), *arguments],
        timeout=patient(TIMEOUT_S), capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {"Id", "SMS_Status__c", "SMS_Status_Code__c"} <= set(seen.pop("fields"))
    assert seen.pop("used") >= 3
    assert seen == {
        "organizationId": ORG_ID,
        "written": 200,
        "found": 200,
        "first": "Delivery",
    }
    requests = org.stats()["requests"]
    assert isinstance(requests, dict)
    assert requests["collections_update"] == 1

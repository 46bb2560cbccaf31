"""The life of the sandbox org: outages, concurrency, speed, and running as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest
import requests

from processor.sandbox.org.server import Fault, FaultKind, SandboxOrg
from tests.salesforce.org_client import OrgClient, codes, row, task_id, wait_until
from tests.support.patience import patient

T1 = task_id(1)


def test_an_org_that_was_stopped_comes_back_with_its_data_on_its_port() -> None:
    with SandboxOrg() as org, OrgClient(org) as client:
        org.add_tasks([T1])
        client.update([row(T1, SMS_Status__c="Failed")])
        url = org.url
        org.stop()
        with pytest.raises(requests.ConnectionError):
            client.send("GET", "limits")
        org.start()
        assert org.url == url
        assert client.retrieve([T1], ["SMS_Status__c"]).json()[0]["SMS_Status__c"] == "Failed"


def test_stopping_does_not_wait_for_what_is_slow_or_late() -> None:
    with SandboxOrg() as org, OrgClient(org) as client, ThreadPoolExecutor() as pool:
        org.add_tasks([T1])
        org.inject(Fault(FaultKind.SLOW, delay_s=600.0), Fault(FaultKind.LATE, delay_s=600.0))
        running = [pool.submit(client.update, [row(T1)]) for _ in range(2)]
        wait_until(lambda: org.stats()["late_pending"] == 1 and not org.faults())
        started_s = time.monotonic()
        org.stop()
        assert time.monotonic() - started_s < patient(5.0)
        assert all(isinstance(one.exception(), requests.ConnectionError) for one in running)
        assert org.writes() == []


def test_writes_of_concurrent_requests_never_mix() -> None:
    ids = [task_id(number) for number in range(50)]
    with SandboxOrg() as org, OrgClient(org) as client, ThreadPoolExecutor(8) as pool:
        org.add_tasks(ids)
        requests_sent = [[row(i, SMS_Status__c=str(n)) for i in ids] for n in range(40)]
        assert all(codes(r) == ["ok"] * 50 for r in pool.map(client.update, requests_sent))
        log = org.writes()
        assert [write.sequence for write in log] == list(range(1, 2_001))
        runs = [request_id for request_id, _ in groupby(write.request_id for write in log)]
        assert len(runs) == len(set(runs)) == 40
        assert {org.task(i)["SMS_Status__c"] for i in ids} == {log[-1].fields["SMS_Status__c"]}
        assert org.writes(after=1_990, limit=3) == log[1_990:1_993]


def test_thousands_of_rows_take_microseconds_each() -> None:
    ids = [task_id(number) for number in range(200)]
    with SandboxOrg() as org, OrgClient(org) as client:
        org.add_tasks(ids)
        rows = [row(i, SMS_Status__c="Delivery", SMS_Status_Code__c="220") for i in ids]
        started_s = time.process_time()
        for _ in range(100):
            assert client.update(rows).status_code == 200
        per_row_us = (time.process_time() - started_s) / 20_000 * 1e6
    # About 10 with this client on the same core; the margin is for a busy machine.
    assert per_row_us < 60


def test_as_a_process_it_prints_its_url_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "processor.sandbox.org", "--port", "0", "--tasks-from-any"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        stats = requests.get(f"{url}/__sandbox__/stats", timeout=patient(10.0)).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=patient(10.0)) == 0
    assert stats["api_calls"]["used"] == 0

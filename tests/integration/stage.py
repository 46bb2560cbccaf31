"""Topics, a sandbox org, traffic, and `processor run` as processes of their own.

What came of it all is judged in `ledger.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import requests
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from processor.commands.exit_codes import EXIT_UNAVAILABLE
from processor.kafka.avro.registry import Registry
from processor.kafka.outbox import Names
from processor.runtime.clock import SystemClock
from processor.sandbox.demo.judge import CATEGORY_FIELD, CODE_FIELD, VERSION_FIELD
from processor.sandbox.org.server import FieldSpec, OrgSettings, SandboxOrg, task_fields
from processor.sandbox.traffic.generator import Mix, Report, Traffic
from processor.sandbox.traffic.producer import Encoders, TrafficProducer
from tests.integration.kit import Kafka
from tests.support.parts import GRACE_S
from tests.support.patience import Patience, patient

PARTITIONS = 6
PATIENCE_S = 60.0
SESSION_TIMEOUT_S = 20  # the shortest that the settings allow
UNKNOWN_AFTER_S = 4.0
SHORT_TIMES = {
    "KAFKA__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
    "SALESFORCE__FAILURE_HOLD_S": "1",
    "SALESFORCE__INTERMEDIATE_HOLD_S": "1",
    "SALESFORCE__SETTLE_INTERVAL_S": "1",
    "SALESFORCE__UNKNOWN_AFTER_S": str(UNKNOWN_AFTER_S),
    "SALESFORCE__LINGER_S": "0.1",
    "SALESFORCE__REQUEST_TIMEOUT_S": "3",
    "WORKER__REVOKE_DEADLINE_S": "10",
}
_MODEL_MESSAGES_PER_S = 20.0
_TAIL_S = 600.0  # of the model: how long the reports of the last message take to arrive
_HTTP_TIMEOUT_S = 5.0


def wait(what: str, done: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return when it is so; fail, naming it, when it takes too long."""
    limit = Patience(timeout_s)
    while not done():
        assert not limit.is_over(), f"waited {limit} in vain: {what}"
        time.sleep(0.1)  # `done` asks other processes, which tell nothing by themselves


def past_traffic(messages: int, seed: int, mix: Mix | None = None) -> Traffic:
    """Traffic whose last report arrived just now, so that no time of it is in the future."""
    span_ms = round((messages / _MODEL_MESSAGES_PER_S + _TAIL_S) * 1000)
    start_ms = SystemClock().now_ms() - span_ms
    return Traffic(messages, seed, mix=mix, start_ms=start_ms, messages_per_s=_MODEL_MESSAGES_PER_S)


class Process:
    """One `processor COMMAND`. It ends when the test's process does, however that ends."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], log_file: Path
    ) -> None:
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "processor", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=log_file.parent,
                env=dict(environment),
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read line; kill -9 {self._process.pid} 2>/dev/null"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._port: str | None = None

    @property
    def name(self) -> str:
        return self._log_file.stem

    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def get(self, path: str) -> requests.Response | None:
        """What it answers over HTTP; None where it doesn't."""
        if self._port is None:
            found = re.search(r"""/readyz", "port": (\d+),|/readyz" port=(\d+) """, self.log())
            if found is None:
                return None
            self._port = found[1] or found[2]
        try:
            return requests.get(
                f"http://127.0.0.1:{self._port}{path}", timeout=patient(_HTTP_TIMEOUT_S)
            )
        except requests.RequestException:
            return None

    def ready(self) -> bool:
        answer = self.get("/readyz")
        return answer is not None and answer.ok

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 where it doesn't answer."""
        answer = self.get("/metrics")
        if answer is None:
            return 0.0
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def partitions(self) -> set[int]:
        """Those whose lag it tells of: its own."""
        answer = self.get("/metrics")
        if answer is None:
            return set()
        return {
            int(sample.labels["partition"])
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == "sms_processor_consumer_lag_records"
        }

    def lag(self) -> float:
        return self.metric("sms_processor_consumer_lag_records")

    def owed(self) -> float:
        return self.metric("sms_processor_rows_owed")

    def events(self, **labels: str) -> float:
        return self.metric("sms_processor_events_total", **labels)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._end()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def stop(self, timeout_s: float = 30.0, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self._process.send_signal(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            code = self._process.wait(patient(timeout_s))
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # it leaves its stacks in the log
            self._process.wait()
            raise AssertionError(f"{self.name} did not end in {timeout_s:g} s") from None
        self._end()
        return code

    def _end(self) -> None:
        self._process.wait()
        self._guard.kill()
        self._guard.communicate()


class Feed:
    """Sends reports from a thread of its own, in their order, spread over some seconds."""

    def __init__(
        self, producer: TrafficProducer, reports: Iterable[Report], per_s: float | None = None
    ) -> None:
        self.sent = 0
        self._producer = producer
        self._reports = reports
        self._per_s = per_s
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def going(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float = PATIENCE_S) -> None:
        """Return when all reports are with the broker."""
        self._thread.join(patient(timeout_s))
        assert not self._thread.is_alive(), f"still sending after {timeout_s:g} s"
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        try:
            for report in self._reports:
                while self._per_s and self.sent > (time.monotonic() - began_s) * self._per_s:
                    if self._stopped.wait(0.01):
                        return
                self._producer.send(report)
                self.sent += 1
            self._producer.flush()
        except Exception as failure:  # noqa: BLE001 - told by `join`, in the test's own thread
            self._failure = failure


class Stage:
    """One group's events topic, an org, and the processes that were started. `close` ends all.

    The other two topics are left for the processes to make.
    """

    def __init__(
        self, bootstrap_servers: str, folder: Path, *, registry_url: str | None = None
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.registry_url = registry_url
        self.registry: Registry | None = None
        if registry_url is not None:
            self.registry = Registry.connect(registry_url, {}, SystemClock(), GRACE_S)
        self.folder = folder
        self.cluster = Kafka(bootstrap_servers)
        unique = uuid.uuid4().hex[:8]
        self.names = Names(
            f"group-{unique}", f"events-{unique}", f"status-{unique}", f"dead-{unique}"
        )
        for_ever = {"retention.ms": "-1"}  # some reports are years old
        self.cluster.create(self.names.events, PARTITIONS, for_ever)
        version = FieldSpec(VERSION_FIELD, "double")
        self.org = SandboxOrg(settings=OrgSettings(fields=(*task_fields(), version)))
        self.org.start()
        self.processes: list[Process] = []
        self._feeds: list[Feed] = []

    # -- processes ---------------------------------------------------------------------------

    def environment(self, name: str, **settings: str) -> dict[str, str]:
        """Of a process with a store of its own by that name."""
        fields = {CATEGORY_FIELD: "category", CODE_FIELD: "code", VERSION_FIELD: "version"}
        values = {
            **SHORT_TIMES,
            "KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA__GROUP_ID": self.names.group_id,
            "KAFKA__EVENTS_TOPIC": self.names.events,
            "KAFKA__STATUS_TOPIC": self.names.status,
            "KAFKA__DEAD_LETTER_TOPIC": self.names.dead_letter,
            "KAFKA__TRANSACTIONAL_ID": f"{self.names.group_id}-{name}",
            "SALESFORCE__ENDPOINT_URL": self.org.url,
            "SALESFORCE__CONSUMER_KEY": self.org.settings.consumer_key,
            "SALESFORCE__CONSUMER_SECRET": self.org.settings.consumer_secret,
            "SALESFORCE__FIELDS": json.dumps(fields),
            "STATE__DIR": str(self.store(name)),
            "HTTP__HOST": "127.0.0.1",
            "HTTP__PORT": "0",
            **({"SCHEMA_REGISTRY__URL": self.registry_url} if self.registry_url else {}),
            "SCHEMA_REGISTRY__REGISTER": "true",
            "SCHEMA_REGISTRY__GRACE_S": "2",
            **settings,
        }
        outside = {k: v for k, v in os.environ.items() if not k.startswith("PROCESSOR_")}
        outside["PYTHONFAULTHANDLER"] = "1"
        return outside | {f"PROCESSOR_{key}": value for key, value in values.items()}

    def store(self, name: str) -> Path:
        return self.folder / f"store-{name}"

    def lose_store(self, name: str) -> None:
        """Also of a process that came to an end before it had made one."""
        shutil.rmtree(self.store(name), ignore_errors=True)

    def start(self, name: str, *arguments: str, **settings: str) -> Process:
        """`processor run`, or another command."""
        log_file = self.folder / f"{len(self.processes):02d}-{name}.log"
        process = Process(arguments or ("run",), self.environment(name, **settings), log_file)
        self.processes.append(process)
        return process

    def start_ready(self, *names: str, **settings: str) -> list[Process]:
        """Processes that run, are ready, and have shared all partitions evenly."""
        processes = [self.start(name, **settings) for name in names]

        def shared() -> bool:
            for place, process in enumerate(processes):
                if process.exit_code() == EXIT_UNAVAILABLE:  # as whoever supervises it would
                    self.processes.remove(process)
                    processes[place] = self.start(names[place], **settings)
            dead = [(p.name, p.exit_code()) for p in processes if p.exit_code() is not None]
            assert not dead, f"ended at once: {dead}"
            shares = [len(p.partitions()) for p in processes if p.ready()]
            return sum(shares) == PARTITIONS and max(shares) - min(shares) <= 1

        wait("all processes ready", lambda: shared() and all(p.ready() for p in processes))
        return processes

    def close(self) -> None:
        for feed in self._feeds:
            feed.stop()
        for process in self.processes:
            process.kill()
            lines = process.log().splitlines()
            heading = f"--- {process.name}: {len(lines)} lines, ends with"
            sys.stdout.write("\n".join([heading, *lines[-40:], ""]))
        self.org.stop()
        if self.registry is not None:
            self.registry.close()

    # -- traffic -----------------------------------------------------------------------------

    def encoders(self) -> Encoders:
        return Encoders(self.names.events, self.registry)

    def feed(self, reports: Iterable[Report], per_s: float | None = None) -> Feed:
        """Send these, so many a second (None: at once)."""
        producer = TrafficProducer(self.bootstrap_servers, self.names.events, self.encoders())
        feed = Feed(producer, reports, per_s)
        self._feeds.append(feed)
        return feed

    # -- how far it is -----------------------------------------------------------------------

    def unread(self) -> int:
        """Events that no committed offset covers."""
        config = {
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.names.group_id,
            "enable.auto.commit": False,
            "log_level": 0,
        }
        with Consumer(config) as consumer:
            places = [TopicPartition(self.names.events, number) for number in range(PARTITIONS)]
            left = 0
            for place in consumer.committed(places, patient(PATIENCE_S)):
                _, end = consumer.get_watermark_offsets(place, patient(PATIENCE_S))
                left += end - max(place.offset, 0)
        return left

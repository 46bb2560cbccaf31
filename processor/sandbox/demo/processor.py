"""The processor as the demo runs it: composed as for `processor run`, and asked how far it is."""

from __future__ import annotations

from collections.abc import Callable

from processor.commands.compose import Application, compose
from processor.config.settings import Settings
from processor.kafka.topics.topics import Facts
from processor.sandbox.servers.broker import Broker

_DELETE_RETENTION_MS = 86_400_000
_DEAD_LETTER_MAX_BYTES = 1_048_588


class Processor:
    """One worker with its metrics."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def run(self, stopping: Callable[[], bool]) -> None:
        """The worker's loop. Raises StopProcessing."""
        self._application.run(stopping)

    def close(self) -> None:
        self._application.close()

    def drained(self) -> bool:
        """Only for the thread that runs the loop."""
        drained: bool = self._application.worker.drained()
        return drained

    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._application.http.port}/metrics"

    def ready(self) -> bool:
        """Whether it has joined the group and logged in."""
        return self._application.worker.ready()[0]

    def consumed(self) -> int:
        """Records whose effects have been committed."""
        return self._sample("sms_processor_batch_records_sum")

    def ignored(self) -> int:
        registry = self._application.metrics
        return sum(
            int(sample.value)
            for family in registry.collect()
            if family.name == "sms_processor_events"
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["outcome"] == "ignored"
        )

    def statuses(self) -> int:
        return self._sample("sms_processor_statuses_published_total")

    def owed(self) -> int:
        return sum(
            self._sample("sms_processor_rows_owed", priority=priority)
            for priority in ("final", "intermediate")
        )

    def _sample(self, name: str, **labels: str) -> int:
        return int(self._application.metrics.get_sample_value(name, labels) or 0)


def start(settings: Settings, broker: Broker) -> Processor:
    """Where topics can't be described, the demo says what they are like."""
    facts = None
    if not broker.can_administer:
        facts = Facts(
            broker.partitions,
            "",  # the broker can't tell, and makes none again
            "in-process",
            _DELETE_RETENTION_MS,
            _DEAD_LETTER_MAX_BYTES,
        )
    return Processor(compose(settings, facts=facts))

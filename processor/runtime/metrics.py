"""Every metric, declared once. Names end in their unit; every label has a bounded set of values.

Label values that come from outside (reasons, Salesforce's codes) are those of a known set, or
`other`. Children of labelled metrics are looked up once and kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from processor.core.codes import CODES, Category
from processor.core.reasons import REASONS
from processor.core.report.fields import Oddities
from processor.ports import OwedCount

OTHER: Final = "other"
SALESFORCE: Final = "salesforce"  # the stage whose reasons are Salesforce's
NO_CATEGORY: Final = "none"
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "outcome of an event": frozenset(
        "advanced duplicate superseded conflict ignored too_late rejected".split()
    ),
    "stage": frozenset((*REASONS, SALESFORCE)),
    "odd stamp": frozenset("unusable missing future record".split()),
    "odd key": frozenset("not_message_id other_partition".split()),
    "anomaly": frozenset("conflict hidden_progress same_stamp ahead_of_clock".split()),
    "transaction": frozenset("committed aborted fenced".split()),
    "settled": frozenset("written rejected".split()),
    "unusable status": frozenset("bad_key too_large".split()),
    "request kind": frozenset("collections composite retrieve describe query limits".split()),
    "request result": frozenset("ok retry unknown split login stop".split()),
    "verdict": frozenset("settled differs retry park unknown reject stop".split()),
    "login": frozenset("ok refused unavailable".split()),
}

_RECORDS: Final = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000)
_TRANSACTION_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RESTORE_S: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_REQUEST_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30)
_TO_SALESFORCE_S: Final = (1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900, 3_600, 14_400, 43_200, 86_400)

_BUILD: Final = "sms_processor_build"
_BUILD_HELP: Final = "Version of the running processor, and its form (compiled or plain Python)."


class Metrics:
    """Implements `ports.Meter`, and the meter of the Salesforce writer. One per registry.

    The writer's methods are called from its threads, the others from the worker's.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str = "unknown",
        form: str = "unknown",
        salesforce_codes: Collection[str] = (),
    ) -> None:
        # Else there is a `_created` series beside each, which nothing reads. It has no types.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._reasons = {stage: frozenset(reasons) for stage, reasons in REASONS.items()}
        self._reasons[SALESFORCE] = frozenset(salesforce_codes)
        self._events_of: dict[tuple[int, str], list[Counter]] = {}
        self._children: dict[tuple[object, ...], Any] = {}
        self._partitions: set[int] = set()
        self._declare_events(registry)
        self._declare_worker(registry)
        self._declare_state(registry)
        self._declare_salesforce(registry)
        self._begin()
        Info(_BUILD, _BUILD_HELP, registry=registry).info({"version": version, "form": form})
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def _declare_events(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "sms_processor_events_total",
            "Delivery events, by the category of their code and by what became of them.",
            ["category", "outcome"],
            registry=registry,
        )
        self._unknown_codes = Counter(
            "sms_processor_unknown_codes_total",
            "Delivery events with a code that is not in the catalogue, by the category that its "
            "hundreds digit stands for.",
            ["category"],
            registry=registry,
        )
        self._anomalies = Counter(
            "sms_processor_anomalies_total",
            "Messages with an odd history: both delivered and failed (conflict), a failure that "
            "hides a later attempt (hidden_progress), different codes with the same timestamp "
            "(same_stamp). Also events dated later than the processor's clock whose Kafka record "
            "has no earlier timestamp (ahead_of_clock).",
            ["kind"],
            registry=registry,
        )
        self._odd_stamps = Counter(
            "sms_processor_odd_stamps_total",
            "Usable events whose timestamp is missing, unusable or in the future, or whose Kafka "
            "record has a timestamp before the year 2000 (record).",
            ["kind"],
            registry=registry,
        )
        self._odd_keys = Counter(
            "sms_processor_odd_keys_total",
            "Events whose key is not their message id (not_message_id), or whose partition is not "
            "the one that the key belongs to (other_partition). Only the first few events of each "
            "batch are examined.",
            ["kind"],
            registry=registry,
        )
        self._dead_letters = Counter(
            "sms_processor_dead_letters_total",
            "Dead letters, by the stage that produced them and by reason.",
            ["stage", "reason"],
            registry=registry,
        )

    def _declare_worker(self, registry: CollectorRegistry) -> None:
        self._batch = Histogram(
            "sms_processor_batch_records",
            "Number of events committed in one batch.",
            buckets=_RECORDS,
            registry=registry,
        )
        self._transactions = Histogram(
            "sms_processor_transaction_seconds",
            "Duration of Kafka transactions, by outcome.",
            ["outcome"],
            buckets=_TRANSACTION_S,
            registry=registry,
        )
        self._published = Counter(
            "sms_processor_statuses_published_total",
            "Statuses written to the status topic.",
            registry=registry,
        )
        self._expired = Counter(
            "sms_processor_statuses_expired_total",
            "Statuses removed from the status topic because their retention time is over.",
            registry=registry,
        )

    def _declare_state(self, registry: CollectorRegistry) -> None:
        self._restores = Histogram(
            "sms_processor_restore_seconds",
            "Time from the assignment of a partition until its state is restored.",
            buckets=_RESTORE_S,
            registry=registry,
        )
        self._restored = Counter(
            "sms_processor_statuses_restored_total",
            "Statuses read back from the status topic to restore partitions.",
            registry=registry,
        )
        self._unusable = Counter(
            "sms_processor_statuses_unusable_total",
            "Statuses that a restore skipped because the local store cannot hold them, by reason.",
            ["reason"],
            registry=registry,
        )
        self._states = Gauge(
            "sms_processor_statuses_stored",
            "Statuses in the local store.",
            registry=registry,
        )
        self._blocked = Gauge(
            "sms_processor_store_blocked_partitions",
            "Assigned partitions that wait because their local store cannot be used: the disk is "
            "full, too few files may be open, or a permission is missing. The log says which.",
            registry=registry,
        )
        self._slowed = Gauge(
            "sms_processor_breaker_open_partitions",
            "Assigned partitions that are read slowly because most of their recent events cannot "
            "be decoded. The log gives the reasons and the offsets.",
            registry=registry,
        )
        self._owed = Gauge(
            "sms_processor_rows_owed",
            "Rows that Salesforce has not confirmed yet, by priority: those with a final code and "
            "those with an intermediate one.",
            ["priority"],
            registry=registry,
        )
        self._in_doubt = Gauge(
            "sms_processor_rows_in_doubt",
            "Rows owed that Salesforce may have received without an answer reaching the processor. "
            "They are read back after SALESFORCE__UNKNOWN_AFTER_S, and settled only then.",
            registry=registry,
        )
        self._lag = Gauge(
            "sms_processor_consumer_lag_records",
            "Events not yet read, by partition. Absent while Kafka does not answer.",
            ["partition"],
            registry=registry,
        )

    def _declare_salesforce(self, registry: CollectorRegistry) -> None:
        self._to_salesforce = Histogram(
            "sms_processor_event_to_salesforce_seconds",
            "Time from an event until Salesforce has confirmed its status or refused it for good.",
            ["outcome"],
            buckets=_TO_SALESFORCE_S,
            registry=registry,
        )
        self._requests = Histogram(
            "sms_processor_salesforce_request_seconds",
            "Duration of requests to Salesforce, by kind and result.",
            ["kind", "result"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self._rows = Counter(
            "sms_processor_salesforce_rows_total",
            "Rows sent to Salesforce, by the verdict on the answer.",
            ["result"],
            registry=registry,
        )
        self._api_used = Gauge(
            "sms_processor_salesforce_api_calls",
            "API calls of the whole org in the last 24 hours, as Salesforce reports them.",
            registry=registry,
        )
        self._api_limit = Gauge(
            "sms_processor_salesforce_api_calls_limit",
            "API calls that the org may make in 24 hours, as Salesforce reports them.",
            registry=registry,
        )
        self._kafka_answered = Gauge(
            "sms_processor_kafka_last_answer_timestamp_seconds",
            "Unix time of the last answer from Kafka; 0 before the first answer.",
            registry=registry,
        )
        self._put_off = Counter(
            "sms_processor_batches_put_off_total",
            "Batches put back to be read again later, because the Schema Registry did not answer "
            "or does not know a new schema yet.",
            registry=registry,
        )
        self._org_ready = Gauge(
            "sms_processor_salesforce_ready",
            "1 while Salesforce accepts rows; 0 while there is no login or writing is paused.",
            registry=registry,
        )
        self._paused_until = Gauge(
            "sms_processor_salesforce_paused_until_timestamp_seconds",
            "Unix time until which writing to Salesforce is paused; 0 while it is not paused.",
            registry=registry,
        )
        self._logins = Counter(
            "sms_processor_salesforce_logins_total",
            "Logins to Salesforce, by result.",
            ["result"],
            registry=registry,
        )

    def _begin(self) -> None:
        """Every series that there can be is there from the start, at 0: one that appears with its
        first increment has not increased, for PromQL, and an alert misses the first of its kind.
        """
        categories = [category.value for category in Category]
        outcomes = _KNOWN["outcome of an event"] - {"rejected"}
        series: list[tuple[Any, Iterable[tuple[str, ...]]]] = [
            (self._events, [*product(categories, outcomes), (NO_CATEGORY, "rejected")]),
            (self._unknown_codes, product(categories)),
            (self._anomalies, product(_KNOWN["anomaly"])),
            (self._odd_stamps, product(_KNOWN["odd stamp"])),
            (self._odd_keys, product(_KNOWN["odd key"])),
            (
                self._dead_letters,
                [(stage, why) for stage, all_of in self._reasons.items() for why in all_of]
                + [(SALESFORCE, OTHER)],
            ),
            (self._transactions, product(_KNOWN["transaction"])),
            (self._unusable, product(_KNOWN["unusable status"])),
            (self._owed, product(("final", "intermediate"))),
            (self._to_salesforce, product(_KNOWN["settled"])),
            (self._requests, product(_KNOWN["request kind"], _KNOWN["request result"])),
            (self._rows, product(_KNOWN["verdict"])),
            (self._logins, product(_KNOWN["login"])),
        ]
        for metric, labels in series:
            for each in labels:
                self._child(metric, *each)

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    # -- the worker's ------------------------------------------------------------------------

    def events(self, counts: Mapping[tuple[int, str], int]) -> None:
        for key, count in counts.items():
            counters = self._events_of.get(key)
            if counters is None:
                counters = self._events_of[key] = self._counters_of(*key)
            for counter in counters:
                counter.inc(count)

    def _counters_of(self, number: int, outcome: str) -> list[Counter]:
        code = CODES[number]
        category = code.category.value
        outcome = _known("outcome of an event", outcome)
        counters = [self._events.labels(category, outcome)]
        if not code.known:
            counters.append(self._unknown_codes.labels(category))
        return counters

    def rejected(self, stage: str, reason: str, count: int) -> None:
        reason = reason if reason in self._reasons.get(stage, ()) else OTHER
        self._child(self._dead_letters, _known("stage", stage), reason).inc(count)
        if stage == "decode":
            self._child(self._events, NO_CATEGORY, "rejected").inc(count)

    def anomalies(self, kind: str, count: int) -> None:
        self._child(self._anomalies, _known("anomaly", kind)).inc(count)

    def batch(self, size: int) -> None:
        self._batch.observe(size)

    def transaction(self, seconds: float, outcome: str) -> None:
        self._child(self._transactions, _known("transaction", outcome)).observe(seconds)

    def statuses(self, count: int) -> None:
        self._published.inc(count)

    def restored(self, seconds: float, messages: int) -> None:
        self._restores.observe(seconds)
        self._restored.inc(messages)

    def unusable(self, reason: str, count: int) -> None:
        self._child(self._unusable, _known("unusable status", reason)).inc(count)

    def settled(self, outcome: str, seconds_since_event: Sequence[float]) -> None:
        child = self._child(self._to_salesforce, _known("settled", outcome))
        for seconds in seconds_since_event:
            child.observe(seconds)

    def expired(self, count: int) -> None:
        self._expired.inc(count)

    def gauges(self, owed: OwedCount, states: int, lag: Mapping[int, int]) -> None:
        self._child(self._owed, "final").set(owed.final)
        self._child(self._owed, "intermediate").set(owed.intermediate)
        self._in_doubt.set(owed.in_doubt)
        self._states.set(states)
        for partition in self._partitions.difference(lag):
            self._lag.remove(str(partition))
            self._children.pop((self._lag, str(partition)), None)
        for partition, records in lag.items():
            self._child(self._lag, str(partition)).set(records)
        self._partitions = set(lag)

    def blocked(self, partitions: int) -> None:
        self._blocked.set(partitions)

    def slowed(self, partitions: int) -> None:
        self._slowed.set(partitions)

    def kafka_answered(self, at_s: float) -> None:
        self._kafka_answered.set(at_s)

    def put_off(self) -> None:
        self._put_off.inc()

    def org_ready(self, ready: bool) -> None:
        self._org_ready.set(ready)

    def oddities(self, found: Oddities) -> None:
        for counter, kind, count in (
            (self._odd_stamps, "unusable", found.stamps_unusable),
            (self._odd_stamps, "missing", found.stamps_missing),
            (self._odd_stamps, "future", found.stamps_future),
            (self._odd_stamps, "record", found.record_times_unusable),
            (self._odd_keys, "not_message_id", found.keys_not_message_id),
            (self._odd_keys, "other_partition", found.keys_elsewhere),
        ):
            if count:
                self._child(counter, kind).inc(count)

    # -- the Salesforce writer's -------------------------------------------------------------

    def request(self, kind: str, result: str, seconds: float) -> None:
        labels = _known("request kind", kind), _known("request result", result)
        self._child(self._requests, *labels).observe(seconds)

    def rows(self, result: str, count: int) -> None:
        self._child(self._rows, _known("verdict", result)).inc(count)

    def api_usage(self, used: int, limit: int) -> None:
        self._api_used.set(used)
        self._api_limit.set(limit)

    def paused(self, until_s: float) -> None:
        self._paused_until.set(until_s)

    def login(self, result: str) -> None:
        self._child(self._logins, _known("login", result)).inc()


def _known(what: str, value: str) -> str:
    return value if value in _KNOWN[what] else OTHER


class MetricInfo(NamedTuple):
    """A row of the table of metrics."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def describe_metrics() -> list[MetricInfo]:
    """For docs/metrics.md: every metric of ours, by the name under which it is scraped."""
    metrics = Metrics(CollectorRegistry())
    rows = []
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.collect()
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = tuple(metric._labelnames)  # noqa: SLF001 - nothing public tells them
            rows.append(MetricInfo(name, family.type, labels, family.documentation))
    return [*rows, MetricInfo(f"{_BUILD}_info", "info", ("version", "form"), _BUILD_HELP)]

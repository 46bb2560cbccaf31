"""Delivery reports as a gateway makes them, in the order in which they arrive. Seeded.

    for report in Traffic(messages=2_000, seed=7):
        ...  # report.event is a value of delivery_event.avsc, unless report.poison is set

Each message is a function of the seed and its number, so that traffic of any length streams in
bounded memory, and `oracle` can tell what must come out without having watched it.
Times are those of a model: what takes three days in truth (an expiry) takes a minute here.

As a process, to Kafka and for ever: `python -m processor.sandbox.traffic --bootstrap-servers …`.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from processor.sandbox.org.schema import id_18
from processor.sandbox.traffic.lives import DEFAULT_KINDS, Kind, Step, steps_of

TASK_KEY: Final = "salesforce_task_id"
ACCOUNTS: Final = ("acct-main", "acct-clinic", "acct-shop")
MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS

_NUMBERS: Final = tuple(f"+6149157015{digit}" for digit in range(6, 10))  # fictitious by ACMA
_TEXTS: Final = (
    "Your appointment is tomorrow at 10:30. Reply N to cancel.",
    "Your parcel is on its way.",
    "Your code is 000000.",
)
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LATE_MS: Final = (30_000, 180_000)
_SHUFFLE_MS: Final = 20_000
_SKEW_MS: Final = 2 * DAY_MS
_FAST_CLOCK_MS: Final = 10 * MINUTE_MS


class Poison(StrEnum):
    """What is wrong with a record that can't be used."""

    NULL_VALUE = "null_value"
    EMPTY_VALUE = "empty_value"
    BAD_MAGIC = "bad_magic"
    UNKNOWN_SCHEMA = "unknown_schema"
    TRUNCATED = "truncated"
    NO_MESSAGE_ID = "no_message_id"
    CODE_NULL = "code_null"
    CODE_TEXT = "code_text"
    CODE_OUT_OF_RANGE = "code_out_of_range"


WITHOUT_REGISTRY: Final = tuple(p for p in Poison if p is not Poison.CODE_TEXT)
"""A code in letters needs a producer whose schema has text there, hence a registry."""


class Report(NamedTuple):
    """One record for the events topic.

    `event` is a value of delivery_event.avsc with times in milliseconds (for CODE_TEXT its
    `status_code` is text). `timestamp_ms` is the record's, the time of its arrival. A poisoned
    record is this event, encoded and put through `spoiled`.
    """

    event: dict[str, Any]
    key: str
    timestamp_ms: int
    poison: Poison | None = None


class Message(NamedTuple):
    """One message's whole life; its reports are in the order of arrival.

    `task_id` is in the form that its metadata have (15 or 18 characters), None where it has no
    Task.
    """

    kind: Kind
    message_id: str
    task_id: str | None
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """The shares of what happens. `of_messages` and `of_reports` say of what they are shares.

    `skewed`: the provider's clock is up to two days off. `minutes`: it only has minutes.
    `unreceived`: reports lack `date_received`, so that the provider's clock orders them.
    `unstamped`: reports have no date at all. `fast_clock`: the gateway's stamps are in the future.
    """

    kinds: Mapping[Kind, float] = field(default_factory=lambda: DEFAULT_KINDS)
    without_task: float = 0.08  # of_messages
    short_task_id: float = 0.1  # of_messages
    out_of_order: float = 0.06  # of_messages
    skewed: float = 0.03  # of_messages
    minutes: float = 0.05  # of_messages
    unreceived: float = 0.02  # of_messages
    unstamped: float = 0.005  # of_messages
    fast_clock: float = 0.01  # of_messages
    duplicated: float = 0.03  # of_reports
    late: float = 0.01  # of_reports
    poisoned: float = 0.005  # of_reports; a poisoned record comes in addition
    poisons: tuple[Poison, ...] = WITHOUT_REGISTRY


class Traffic:
    """The reports of `messages` messages (None: without end), in the order of arrival.

    `start_ms` is when the first message is sent, and so many are sent per second of the model.
    What waits to arrive is what was sent in the last minutes, so memory is bounded by the rate.
    """

    def __init__(
        self,
        messages: int | None,
        seed: int = 0,
        *,
        mix: Mix | None = None,
        start_ms: int = 1_750_000_000_000,
        messages_per_s: float = 20.0,
    ) -> None:
        self.messages = messages
        self.seed = seed
        self.mix = mix or Mix()
        self._start_ms = start_ms
        self._interval_ms = 1000 / messages_per_s
        self._kinds = list(self.mix.kinds)
        self._weights = list(itertools.accumulate(self.mix.kinds.values()))

    def __iter__(self) -> Iterator[Report]:
        arriving: list[tuple[int, int, int, Report]] = []
        for number, message in enumerate(self.lives()):
            sent_ms = self._sent_ms(number)
            while arriving and arriving[0][0] <= sent_ms:
                yield heappop(arriving)[-1]
            for place, report in enumerate(message.reports):
                heappush(arriving, (report.timestamp_ms, number, place, report))
        while arriving:
            yield heappop(arriving)[-1]

    def lives(self) -> Iterator[Message]:
        """The messages, one after the other, in the order in which they are sent."""
        numbers = itertools.count() if self.messages is None else range(self.messages)
        return map(self.message, numbers)

    def message(self, number: int) -> Message:
        """The life of one message; the same at every call."""
        rng = random.Random((self.seed << 40) + number)
        kind = rng.choices(self._kinds, cum_weights=self._weights)[0]
        message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        task_id = self._task_id(number, rng)
        events = self._stamped(
            self._common(message_id, task_id, rng),
            steps_of(kind, rng),
            self._sent_ms(number),
            rng,
        )
        arrivals = self._arrivals(events, rng)
        arrivals.sort(key=lambda report: report.timestamp_ms)
        return Message(kind, message_id, task_id, tuple(arrivals))

    def _sent_ms(self, number: int) -> int:
        return self._start_ms + int(number * self._interval_ms)

    def _task_id(self, number: int, rng: random.Random) -> str | None:
        if rng.random() < self.mix.without_task:
            return None
        digits = ""
        rest = (self.seed % 62**4) * 62**8 + number
        for _ in range(12):
            rest, digit = divmod(rest, 62)
            digits = _DIGITS[digit] + digits
        short = rng.random() < self.mix.short_task_id
        return f"00T{digits}" if short else id_18(f"00T{digits}")

    def _common(self, message_id: str, task_id: str | None, rng: random.Random) -> dict[str, Any]:
        metadata = {"reference": f"ref-{rng.randrange(10**6)}"}
        if task_id is not None:
            metadata[TASK_KEY] = task_id
        elif rng.random() < 0.2:
            metadata[TASK_KEY] = ""  # a template's placeholder that nobody filled
        return {
            "delivery_report_id": "",
            "message_id": message_id,
            "status": "",
            "status_code": None,
            "date_received": None,
            "submitted_date": None,
            "source_number": rng.choice(_NUMBERS),
            "original_text": rng.choice(_TEXTS),
            "vendor_account_id": {"vendor_id": "MessageMedia", "account_id": rng.choice(ACCOUNTS)},
            "metadata": metadata,
            "delay": 0,
            "billing_units": 1,
            "callback_url": "https://callbacks.example/sms",
        }

    def _stamped(
        self, common: dict[str, Any], steps: list[Step], sent_ms: int, rng: random.Random
    ) -> list[tuple[int, dict[str, Any]]]:
        """The events with the time when the gateway truly made each."""
        mix = self.mix
        skew = rng.randint(-_SKEW_MS, _SKEW_MS) if rng.random() < mix.skewed else 0
        minutes = rng.random() < mix.minutes
        fast = rng.randint(MINUTE_MS, _FAST_CLOCK_MS) if rng.random() < mix.fast_clock else 0
        chance = rng.random()
        unstamped = chance < mix.unstamped
        unreceived = unstamped or chance < mix.unstamped + mix.unreceived
        events = []
        at = sent_ms
        for code, gap_ms in steps:
            at += gap_ms
            of_provider = code >= 210
            changed = at - (rng.randint(20, 1_200) if of_provider else rng.randint(2, 8))
            if of_provider:
                changed += skew
            if minutes:
                changed -= changed % MINUTE_MS
            event = common | {
                "delivery_report_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "status": status_word(code),
                "status_code": code,
                "date_received": None if unreceived else at + fast,
                "submitted_date": None if unstamped else changed,
            }
            events.append((at, event))
        return events

    def _arrivals(
        self, events: list[tuple[int, dict[str, Any]]], rng: random.Random
    ) -> list[Report]:
        mix = self.mix
        shuffle = _SHUFFLE_MS if rng.random() < mix.out_of_order else 0
        reports = []
        for made_ms, event in events:
            key = event["message_id"]
            at = made_ms + rng.randint(5, 250) + rng.randint(0, shuffle)
            if rng.random() < mix.late:
                at += rng.randint(*_LATE_MS)
            reports.append(Report(event, key, at))
            if rng.random() < mix.duplicated:
                reports.append(Report(event, key, at + rng.randint(100, 30_000)))
            if rng.random() < mix.poisoned:
                poison = rng.choice(mix.poisons)
                again = at + rng.randint(0, 1_000)
                reports.append(Report(_poisoned(event, poison), key, again, poison))
        return reports


def status_word(code: int) -> str:
    """The `status` that goes with a code; see the provider's list of statuses."""
    if code < 200:
        return "enroute"
    if code < 300:
        return "delivered" if code in (220, 221) else "submitted"
    if code in (320, 401):
        return "expired"
    return "rejected" if code // 10 == 30 or code in (402, 403) or code // 10 == 41 else "failed"


def spoiled(poison: Poison, encoded: bytes) -> bytes | None:
    """The value of a poisoned record, from the encoding of its event (either framing)."""
    framing = 5 if encoded[:1] == b"\x00" else 10
    match poison:
        case Poison.NULL_VALUE:
            return None
        case Poison.EMPTY_VALUE:
            return b""
        case Poison.BAD_MAGIC:
            return b"\x7f" + encoded[1:]
        case Poison.UNKNOWN_SCHEMA if framing == 5:
            return b"\x00\x7f\xff\xff\xfe" + encoded[5:]
        case Poison.UNKNOWN_SCHEMA:
            return encoded[:2] + bytes(byte ^ 0xFF for byte in encoded[2:10]) + encoded[10:]
        case Poison.TRUNCATED:
            return encoded[: framing + (len(encoded) - framing) // 2]
    return encoded


def _poisoned(event: dict[str, Any], poison: Poison) -> dict[str, Any]:
    match poison:
        case Poison.NO_MESSAGE_ID:
            return event | {"message_id": ""}
        case Poison.CODE_NULL:
            return event | {"status_code": None}
        case Poison.CODE_TEXT:
            return event | {"status_code": "abc"}
        case Poison.CODE_OUT_OF_RANGE:
            return event | {"status_code": 999}
    return event

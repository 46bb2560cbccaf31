"""Traffic: seeded, mixed as promised, and judged by an oracle that agrees with the rule."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import pytest

from processor.core.collapse import merge, resolve
from processor.core.events import DeliveryEvent
from processor.errors import Rejection
from processor.sandbox.org.schema import task_id_18
from processor.sandbox.traffic.generator import (
    TASK_KEY,
    WITHOUT_REGISTRY,
    Message,
    Mix,
    Poison,
    Report,
    Traffic,
    spoiled,
)
from processor.sandbox.traffic.lives import DEFAULT_KINDS, Kind
from processor.sandbox.traffic.oracle import (
    REASONS,
    expect,
    expectations,
    expected,
    out_of_place,
    replay,
)
from processor.sandbox.traffic.producer import Encoders
from tests.kafka.avro.avro_kit import Record
from tests.support.parts import framed_decoder

HARD = Mix(
    out_of_order=0.5,
    skewed=0.5,
    minutes=0.3,
    unreceived=0.4,
    unstamped=0.1,
    fast_clock=0.3,
    duplicated=0.3,
    late=0.2,
    without_task=0.0,
)


def decoded(reports: list[Report]) -> list[DeliveryEvent | Rejection]:
    encoders = Encoders("events")
    decoder = framed_decoder()
    return decoder.decode([Record(encoders.value(r), r.timestamp_ms) for r in reports])


def collapsed(message: Message) -> int:
    """By the code that the oracle judges: decoder, merge, resolve."""
    history: dict[int, int] = {}
    for event in decoded([r for r in message.reports if r.poison is None]):
        assert isinstance(event, DeliveryEvent)
        history = merge(history, {event.code: event.event_time})
    return resolve(history)


# -- the traffic -------------------------------------------------------------------------------


def test_a_seed_gives_the_same_traffic_and_another_seed_another() -> None:
    assert list(Traffic(200, seed=7)) == list(Traffic(200, seed=7))
    one, other = ({r.key for r in Traffic(200, seed=seed)} for seed in (7, 8))
    assert not one & other


def test_a_message_is_the_same_in_longer_traffic() -> None:
    assert Traffic(10, seed=7).message(9) == Traffic(None, seed=7).message(9)


def test_reports_come_in_the_order_of_their_timestamps() -> None:
    stamps = [report.timestamp_ms for report in Traffic(2_000, seed=7)]
    assert stamps == sorted(stamps)


def test_the_stream_holds_exactly_the_reports_of_its_messages() -> None:
    traffic = Traffic(500, seed=7)
    of_messages = Counter(
        (r.key, r.timestamp_ms, r.poison) for message in traffic.lives() for r in message.reports
    )
    assert Counter((r.key, r.timestamp_ms, r.poison) for r in traffic) == of_messages


def test_a_message_has_three_to_four_reports_on_average() -> None:
    reports = sum(1 for _ in Traffic(5_000, seed=7))
    assert 3.0 < reports / 5_000 < 4.0


def test_every_kind_has_its_share() -> None:
    found = Counter(message.kind for message in Traffic(20_000, seed=7).lives())
    assert set(found) == set(Kind)
    for kind, share in DEFAULT_KINDS.items():
        assert found[kind] / 20_000 == pytest.approx(share, rel=0.2), kind
    assert sum(DEFAULT_KINDS.values()) == pytest.approx(1.0)


def test_what_happens_to_messages_and_reports_has_its_share() -> None:
    mix = Mix()
    messages = list(Traffic(10_000, seed=7).lives())
    good = [r for m in messages for r in m.reports if r.poison is None]
    bad = [r for m in messages for r in m.reports if r.poison is not None]
    repeated = len(good) - len({r.event["delivery_report_id"] for r in good})
    per_report = {
        "duplicated": (repeated, mix.duplicated),
        "poisoned": (len(bad), mix.poisoned),
    }
    for name, (count, share) in per_report.items():
        assert count / (len(good) - repeated) == pytest.approx(share, rel=0.2), name
    per_message = {
        "without_task": ([m.task_id is None for m in messages], mix.without_task),
        "short_task_id": ([len(m.task_id or "") == 15 for m in messages], mix.short_task_id),
        "unreceived": (
            [m.reports[0].event["date_received"] is None for m in messages],
            mix.unreceived + mix.unstamped,
        ),
    }
    for name, (hits, share) in per_message.items():
        assert sum(hits) / len(messages) == pytest.approx(share, rel=0.2), name
    assert {r.poison for r in bad} == set(WITHOUT_REGISTRY)


def test_reports_come_late_and_out_of_order() -> None:
    messages = [m for m in Traffic(5_000, seed=7).lives() if len(m.reports) > 1]
    stamps = [[r.event["date_received"] or 0 for r in m.reports if not r.poison] for m in messages]
    overtaken = sum(each != sorted(each) for each in stamps)
    assert 0.1 < overtaken / len(messages) < 0.25  # repetitions included
    lags = [
        r.timestamp_ms - (r.event["date_received"] or r.timestamp_ms)
        for m in messages
        for r in m.reports
    ]
    assert sum(lag > 30_000 for lag in lags) > 50
    assert sum(lag < 0 for lag in lags) > 50  # the gateway's clock is fast


def test_every_task_id_is_one_of_a_task_and_no_two_messages_share_it() -> None:
    ids = [m.task_id for m in Traffic(2_000, seed=7).lives() if m.task_id is not None]
    assert len({task_id_18(task_id) for task_id in ids}) == len(ids)


def test_endless_traffic_needs_no_more_memory_the_longer_it_runs() -> None:
    stream = iter(Traffic(None, seed=7))
    sizes = []
    tracemalloc.start()
    for _ in range(3):
        for _report in itertools.islice(stream, 5_000):
            pass
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] < sizes[0] * 1.5


# -- poison ------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", WITHOUT_REGISTRY)
def test_each_poison_is_rejected_for_its_reason(poison: Poison) -> None:
    mix = Mix(poisoned=1.0, poisons=(poison,))
    reports = [r for r in Traffic(50, seed=7, mix=mix) if r.poison is not None]
    outcomes = decoded(reports)
    assert len(reports) > 100
    assert {o.reason if isinstance(o, Rejection) else o for o in outcomes} == {REASONS[poison]}


@pytest.mark.parametrize(
    ("poison", "value"),
    [
        (Poison.NULL_VALUE, None),
        (Poison.EMPTY_VALUE, b""),
        (Poison.BAD_MAGIC, b"\x7f\0\0\0\x05rest"),
        (Poison.UNKNOWN_SCHEMA, b"\0\x7f\xff\xff\xferest"),
        (Poison.TRUNCATED, b"\0\0\0\0\x05re"),
    ],
)
def test_bytes_with_a_registry_id_are_spoiled_too(poison: Poison, value: bytes | None) -> None:
    assert spoiled(poison, b"\0\0\0\0\x05rest") == value


def test_a_code_in_letters_needs_a_registry() -> None:
    (report, *_) = [
        r
        for r in Traffic(5, mix=Mix(poisoned=1.0, poisons=(Poison.CODE_TEXT,)))
        if r.poison is not None
    ]
    assert report.event["status_code"] == "abc"
    with pytest.raises(ValueError, match="registry"):
        Encoders("events").value(report)


# -- the oracle --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_agrees_with_the_rule(seed: int) -> None:
    traffic = Traffic(150, seed, mix=HARD)
    for message in traffic.lives():
        expectation = expect(message)
        assert expectation is not None
        assert expectation.code == collapsed(message), (seed, message)


def test_the_oracle_counts_what_the_decoder_sees() -> None:
    traffic = Traffic(2_000, seed=7)
    outcomes = decoded(list(traffic))
    wanted = expected(traffic)
    assert wanted.messages == 2_000
    assert wanted.events == len(outcomes)
    assert wanted.dead_letters == Counter(o.reason for o in outcomes if isinstance(o, Rejection))
    assert wanted.ignored == sum(
        isinstance(o, DeliveryEvent) and o.task_id is None for o in outcomes
    )
    assert list(wanted.tasks.values()) == list(expectations(traffic))


def test_the_path_is_the_status_after_each_arrival() -> None:
    for message in Traffic(300, seed=7, mix=HARD).lives():
        expectation = expect(message)
        assert expectation is not None
        good = tuple(r for r in message.reports if r.poison is None)
        seen = [collapsed(message._replace(reports=good[:n])) for n in range(1, len(good) + 1)]
        assert list(expectation.path) == [code for code, _ in itertools.groupby(seen)]
        assert message.task_id == good[0].event["metadata"][TASK_KEY]


@pytest.mark.parametrize(
    ("reports", "status"),
    [
        ([(1, 101), (2, 200), (3, 220)], 220),
        ([(3, 220), (2, 200)], 220),
        ([(2, 402), (3, 102), (4, 200)], 200),
        ([(2, 402), (2, 102)], 102),
        ([(2, 402), (3, 102), (4, 200), (5, 401)], 401),
        ([(1, 401), (1, 499)], 401),
        ([(1, 200), (9, 222)], 200),
    ],
)
def test_a_replay_by_hand(reports: list[tuple[int, int]], status: int) -> None:
    for order in itertools.permutations(reports):
        assert replay(order) == status


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ([200, 402, 102, 200, 220], 0),
        ([220], 0),
        ([200, 220], 0),
        ([200, 200, 402, 402, 220], 0),
        ([402, 200, 220], 0),
        ([220, 200], 1),
        ([102, 402, 220], 1),
        ([220, 402, 220], 1),
        ([301], 1),
        ([], 0),
    ],
)
def test_a_step_back_is_a_write_that_the_path_has_no_place_for(
    written: list[int], wrong: int
) -> None:
    assert sum(out_of_place(written, (200, 402, 102, 200, 220))) == wrong

"""Each event whose latency is measured shows in a status, and none twice."""

from __future__ import annotations

import time

from benchmarks.peers.latency import FIRST_EVENTS, Timetable, encoded
from processor.commands.compose import rules
from processor.config.settings import Settings
from processor.core.plan import plan
from processor.core.report.fields import Oddities, ReportRules
from processor.kafka.avro.decoder import AvroDecoder
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, Record

TIMETABLE = Timetable(per_s=100, warm_up_s=3, measured_s=17)


def test_a_timetable_measures_after_its_warm_up() -> None:
    assert TIMETABLE.measured_from == FIRST_EVENTS + 300
    assert TIMETABLE.events == FIRST_EVENTS + 2_000


def test_what_is_waited_for_is_what_the_statuses_will_have() -> None:
    now = round(time.time() * 1000)
    ready = encoded(TIMETABLE, seed=4)
    settings = Settings()
    reading = ReportRules(settings.events.time_fields, settings.salesforce.task_id_metadata_key)
    decoder = AvroDecoder([EVENT_SCHEMA], reading, Oddities(), plain=False)
    events = decoder.decode([Record(event.value, now) for event in ready])
    made = plan(events, {}, rules=rules(settings), now=now)
    awaited = [(event.key, event.code) for event in ready if event.code is not None]
    states = [change.new for change in made.changes.values() if change.new is not None]
    shown = {(state.message_id, code) for state in states for code in state.history}
    assert len(awaited) == len(set(awaited))
    assert set(awaited) == shown
    assert not made.too_late

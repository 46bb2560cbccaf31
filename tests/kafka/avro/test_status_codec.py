"""What is written to the status topic comes back, and others can read it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader
from hypothesis import given
from hypothesis import strategies as st

from processor.core.codes import CODES
from processor.core.events import IN_FLIGHT, MessageState, Outcome
from processor.errors import Rejected
from processor.kafka.avro.framing import confluent_prefix, single_object_prefix
from processor.kafka.avro.status_codec import StatusCodec
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, NOW, STATUS_SCHEMA, write

PREFIX = single_object_prefix(STATUS_SCHEMA)
CODEC = StatusCodec(STATUS_SCHEMA, PREFIX)
STATE = MessageState(
    "m", {101: NOW - 9, 220: NOW}, 220, "00T1", NOW - 9, "a", NOW, 3, NOW + 1,
    2, 101, NOW + 2, Outcome.WRITTEN,
)  # fmt: skip

TIMES = st.integers(0, 2**63 - 1)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=70)
CODE = st.sampled_from(sorted(CODES))


@st.composite
def states(draw: st.DrawFn) -> MessageState:
    history = draw(st.dictionaries(CODE, TIMES, min_size=1, max_size=6))
    return MessageState(
        draw(IDS), history, draw(st.sampled_from(sorted(history))),
        draw(st.none() | IDS), draw(TIMES), draw(st.none() | IDS), draw(TIMES),
        draw(TIMES), draw(TIMES),
        draw(TIMES), draw(st.just(0) | CODE), draw(TIMES), draw(st.sampled_from(Outcome)),
    )  # fmt: skip


@given(states())
def test_what_is_encoded_is_decoded(state: MessageState) -> None:
    assert CODEC.decode(CODEC.encode(state)) == state


@given(states())
def test_any_avro_reader_reads_the_same(state: MessageState) -> None:
    stream = BytesIO(CODEC.encode(state))
    stream.seek(len(PREFIX))
    raw: Any = schemaless_reader(stream, parse_schema(_without_times(json.loads(STATUS_SCHEMA))))
    assert stream.read() == b""
    code = CODES[state.code]
    assert raw == {
        "message_id": state.message_id,
        "account_id": state.account_id or "",
        "account_at": state.account_at,
        "task_id": state.task_id or "",
        "task_at": state.task_at,
        "code": code.number,
        "category": code.category.value,
        "description": code.text,
        "final": code.final,
        "event_time": state.history[state.code],
        "history": {str(seen): at for seen, at in state.history.items()},
        "version": state.version,
        "version_at": state.version_at,
        "settled": {
            "version": state.settled_version,
            "code": state.settled_code,
            "at": state.settled_at,
            "outcome": state.settled_outcome.name.lower(),
        },
    }


def _without_times(node: Any) -> Any:
    """Hypothesis draws times that no datetime can hold."""
    if isinstance(node, list):
        return [_without_times(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_times(item) for key, item in node.items() if key != "logicalType"}
    return node


def test_others_read_times_as_times() -> None:
    stream = BytesIO(CODEC.encode(STATE)[len(PREFIX) :])
    raw: Any = schemaless_reader(stream, parse_schema(json.loads(STATUS_SCHEMA)))
    assert raw["event_time"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (raw["category"], raw["final"], raw["settled"]["outcome"]) == (
        "Delivery", True, "written",
    )  # fmt: skip


def test_the_owners_notes_are_not_part_of_it() -> None:
    noted = replace(STATE, due_at=IN_FLIGHT, doubt_at=NOW)
    assert CODEC.encode(noted) == CODEC.encode(STATE)


def changed(*, drop: tuple[str, ...] = (), **kinds: Any) -> str:
    """Our schema as another version of it might be."""
    raw = json.loads(STATUS_SCHEMA)
    raw["fields"] = [field for field in raw["fields"] if field["name"] not in drop]
    for field in raw["fields"]:
        field["type"] = kinds.pop(field["name"], field["type"])
    raw["fields"] = [{"name": name, "type": kind} for name, kind in kinds.items()] + raw["fields"]
    return json.dumps(raw)


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "message_id": "m", "account_id": "a", "account_at": NOW, "task_id": "00T1",
        "task_at": NOW - 9, "code": 220, "category": "Delivery",
        "description": "Message delivered", "final": True, "event_time": NOW,
        "history": {"101": NOW - 9, "220": NOW}, "version": 3, "version_at": NOW + 1,
        "settled": {"version": 2, "code": 101, "at": NOW + 2, "outcome": "written"}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed(new="string"), STATE),
        (changed(drop=("description", "final", "category")), STATE),
        (changed(version="int"), STATE),
        (changed(drop=("account_id", "account_at")), replace(STATE, account_id=None, account_at=0)),
        (changed(drop=("settled",)), replace(STATE,
            settled_version=0, settled_code=0, settled_at=0, settled_outcome=Outcome.NONE)),
    ],
    ids=["new field", "fewer words", "int version", "no account", "before settled"],
)  # fmt: skip
def test_another_version_of_the_schema_is_read(text: str, expected: MessageState) -> None:
    value = write(text, plain(new="x"), single_object_prefix(text))
    assert StatusCodec(STATUS_SCHEMA, PREFIX, others=[text]).decode(value) == expected


GOOD = CODEC.encode(STATE)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty_value"),
        (b"\x01", "bad_magic"),
        (b"{}", "bad_magic"),
        (b"\x00\x00", "undecodable"),
        (PREFIX[:7], "undecodable"),
        (confluent_prefix(1) + GOOD[10:], "unknown_schema"),
        (single_object_prefix(EVENT_SCHEMA) + GOOD[10:], "unknown_schema"),
        (PREFIX, "undecodable"),
        (GOOD[:-1], "undecodable"),
        (GOOD + b"\x00", "trailing_bytes"),
        (write(STATUS_SCHEMA, plain(history={"abc": 1}), PREFIX), "undecodable"),
        (write(STATUS_SCHEMA, plain(history={"101": 1}), PREFIX), "undecodable"),
        (write(STATUS_SCHEMA, plain(history={}), PREFIX), "undecodable"),
    ],
)
def test_what_is_no_status_is_rejected(value: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        CODEC.decode(value)
    assert caught.value.reason == reason

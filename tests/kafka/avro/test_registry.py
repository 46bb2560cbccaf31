"""What a registry over HTTP may answer, and what we make of it: a dead letter, or wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from processor.core.events import DeliveryEvent
from processor.errors import ConfigError, Rejected, Rejection, Unavailable
from processor.kafka.avro.framing import confluent_prefix, single_object_prefix
from processor.kafka.avro.registry import (
    ASK_AGAIN_S,
    FORGET_S,
    GRACE_PAUSE_S,
    MAX_LOOKUPS,
    MAX_UNKNOWN,
    UNKNOWN_FOR_S,
    Registry,
)
from tests.kafka.avro.avro_kit import EVENT_SCHEMA, Record, report, write
from tests.support.clocks import HandTurnedClock
from tests.support.parts import GRACE_S, framed_decoder

ONCE = {"max.retries": 0, "timeout": 2}


class Answers(HTTPServer):
    """Gives every request the same answer, and counts them."""

    status = 200
    body = "{}"
    requests = 0

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, status: int, body: object) -> None:
        self.status = status
        self.body = body if isinstance(body, str) else json.dumps(body)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Answers)
        server.requests += 1
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        pass


def codes(items: Sequence[DeliveryEvent | Rejection]) -> list[int]:
    return [item.code for item in items if isinstance(item, DeliveryEvent)]


@pytest.fixture
def server() -> Iterator[Answers]:
    server = Answers(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clock() -> HandTurnedClock:
    return HandTurnedClock()


@pytest.fixture
def registry(server: Answers, clock: HandTurnedClock) -> Iterator[Registry]:
    registry = Registry.connect(server.url(), ONCE, clock, GRACE_S)
    yield registry
    registry.close()


MISSING = {"error_code": 40403, "message": "Schema 7 not found"}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, MISSING, Rejected),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}, Unavailable),  # wrong path
        (404, "<html>nothing here</html>", Unavailable),
        (200, "<html>please log in</html>", Unavailable),
        (200, {}, Unavailable),
        (200, [], Unavailable),
        (204, "", Unavailable),
        (401, {"error_code": 401, "message": "Unauthorized"}, Unavailable),
        (403, "", Unavailable),
        (422, {"error_code": 42201, "message": "Invalid"}, Unavailable),
        (429, "", Unavailable),
        (500, {"error_code": 50001, "message": "Error in the backend"}, Unavailable),
        (503, "<html>", Unavailable),
    ],
)
def test_only_the_registrys_own_word_makes_an_id_unknown(
    server: Answers, registry: Registry, status: int, body: object, expected: type[Exception]
) -> None:
    server.say(status, body)
    registry._grace_ends_s = registry._clock.monotonic_s()  # it is over
    with pytest.raises(expected) as caught:
        registry.schema(7)
    if isinstance(caught.value, Rejected):
        assert caught.value.reason == "unknown_schema"


# -- an id that the registry does not know (yet) -------------------------------------------------


def judge(registry: Registry, schema_id: int) -> str:
    try:
        registry.schema(schema_id)
    except Rejected as rejected:
        return rejected.reason
    except Unavailable:
        return "wait"
    return "known"


def test_a_late_replica_costs_no_event(
    server: Answers, registry: Registry, clock: HandTurnedClock
) -> None:
    server.say(404, MISSING)
    decoder = framed_decoder(registry)
    records = [Record(write(EVENT_SCHEMA, report(), confluent_prefix(7)))] * 60
    for _ in range(2):
        with pytest.raises(Unavailable) as waits:
            decoder.decode(records)
        assert waits.value.retry_after_s == ASK_AGAIN_S
        clock.seconds += ASK_AGAIN_S
    server.say(200, {"schema": EVENT_SCHEMA})
    assert codes(decoder.decode(records)) == [220] * 60
    server.say(404, MISSING)
    assert judge(registry, 8) == "wait"  # as late as the one before it: not in vain


def test_after_the_grace_an_id_is_given_up_and_asked_for_again_now_and_then(
    server: Answers, registry: Registry, clock: HandTurnedClock
) -> None:
    server.say(404, MISSING)
    assert judge(registry, 7) == "wait"
    clock.seconds += GRACE_S - 1
    assert judge(registry, 7) == "wait"
    clock.seconds += 1
    assert [judge(registry, 7) for _ in range(3)] == ["unknown_schema"] * 3
    assert server.requests == 3
    clock.seconds += UNKNOWN_FOR_S - 1
    assert judge(registry, 7) == "unknown_schema"
    assert server.requests == 3
    clock.seconds += 1
    server.say(200, {"schema": EVENT_SCHEMA})
    assert judge(registry, 7) == "known"


def test_ids_that_are_no_ids_stop_everything_once_and_not_each_time(
    server: Answers, registry: Registry, clock: HandTurnedClock
) -> None:
    server.say(404, MISSING)
    waited = 0.0
    for schema_id in range(1, 50):
        while judge(registry, schema_id) == "wait":
            clock.seconds += ASK_AGAIN_S
            waited += ASK_AGAIN_S
        clock.seconds += 5
    assert waited == GRACE_S
    clock.seconds += GRACE_PAUSE_S
    assert judge(registry, 99) == "wait"


def test_no_grace_is_given_where_it_is_set_to_none(server: Answers, clock: HandTurnedClock) -> None:
    server.say(404, MISSING)
    registry = Registry.connect(server.url(), ONCE, clock, grace_s=0)
    assert judge(registry, 7) == "unknown_schema"
    registry.close()


def test_a_batch_of_broken_events_makes_a_bounded_number_of_lookups_and_comes_to_its_end(
    server: Answers, registry: Registry, clock: HandTurnedClock
) -> None:
    """Each is a bare value whose first field is empty: it begins as a framed one does."""
    server.say(404, MISSING)
    decoder = framed_decoder(registry)
    good = Record(write(EVENT_SCHEMA, report(), single_object_prefix(EVENT_SCHEMA)))
    records = [Record(confluent_prefix(1 << 20 | n) + b"broken") for n in range(750)]
    items: list[DeliveryEvent | Rejection] = []
    for _ in range(60):
        before = server.requests
        try:
            items = decoder.decode([*records, good])
        except Unavailable as failure:
            clock.seconds += failure.retry_after_s
        assert server.requests - before <= MAX_LOOKUPS
        if items:
            break
    assert {item.reason for item in items[:-1] if isinstance(item, Rejection)} == {"unknown_schema"}
    assert not isinstance(items[-1], Rejected)
    assert server.requests >= len(records)  # nothing was given up that was not asked for


def test_what_is_remembered_of_ids_that_were_given_up_is_bounded(
    server: Answers, registry: Registry, clock: HandTurnedClock
) -> None:
    server.say(404, MISSING)
    registry._grace_ends_s = clock.seconds  # it is over
    registry._unknown = dict.fromkeys(range(100, 100 + MAX_UNKNOWN), clock.seconds)
    assert judge(registry, 1) == "unknown_schema"
    assert server.requests == 0
    clock.seconds += FORGET_S
    registry._grace_ends_s = clock.seconds
    assert judge(registry, 1) == "unknown_schema"
    assert server.requests == 1
    assert len(registry._unknown) == MAX_UNKNOWN


def test_a_number_that_cannot_be_an_id_is_not_asked_for(
    server: Answers, registry: Registry
) -> None:
    with pytest.raises(Rejected, match="unknown_schema"):
        registry.schema(0xFFFFFFFF)
    assert server.requests == 0


def test_a_schema_is_fetched_once(server: Answers, registry: Registry) -> None:
    server.say(200, {"schema": EVENT_SCHEMA})
    decoder = framed_decoder(registry)
    record = Record(write(EVENT_SCHEMA, report(), confluent_prefix(7)))
    for _ in range(3):
        assert codes(decoder.decode([record] * 3)) == [220] * 3
    assert server.requests == 1


@pytest.mark.parametrize(
    "answer",
    [{"schema": "message M {}", "schemaType": "PROTOBUF"}, {"schema": '{"type": "nonsense"}'}],
)
def test_a_schema_that_is_not_avro_is_a_dead_letter(
    server: Answers, registry: Registry, answer: dict[str, str]
) -> None:
    server.say(200, answer)
    decoder = framed_decoder(registry)
    record = Record(confluent_prefix(7) + b"x")
    for item in decoder.decode([record, record]):
        assert isinstance(item, Rejection)
        assert item.reason == "bad_schema"


def test_apicurios_ids_are_read_from_the_headers(server: Answers, registry: Registry) -> None:
    server.say(200, {"schema": EVENT_SCHEMA})
    decoder = framed_decoder(registry)
    bare = write(EVENT_SCHEMA, report(delivery_report_id="", message_id="m"))
    eight = (7).to_bytes(8, "big")
    records = [
        Record(bare, own=[("x", None), (f"apicurio.value.{name}", eight)])
        for name in ("contentId", "globalId")
    ]
    framed = Record(write(EVENT_SCHEMA, report(), single_object_prefix(EVENT_SCHEMA)))
    found = decoder.decode([framed, *records, framed])
    assert codes(found) == [220] * 4
    assert server.requests == 1


HEADER = "__value_schema_id"


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ([(HEADER, b"\0\0\0\0\7")], "known"),
        ([(HEADER, b"\1" + bytes(16))], "known"),
        ([(HEADER, b"\1" + bytes(15))], "bad_magic"),
        ([(HEADER, b"\2" + bytes(16))], "bad_magic"),
        ([(HEADER, b"")], "bad_magic"),
        ([(HEADER, None)], "bad_magic"),  # no id: then the value has to tell, and can't
        ([("apicurio.value.globalId", b"\0\0\0\7")], "bad_magic"),
        ([("apicurio.value.globalId", b"\xff" * 8)], "unknown_schema"),
        ([("__key_schema_id", b"\0\0\0\0\7")], "bad_magic"),
    ],
)
def test_an_id_in_a_header_goes_before_the_value(
    server: Answers, registry: Registry, own: list[tuple[str, bytes | None]], reason: str
) -> None:
    server.say(200, {"schema": EVENT_SCHEMA})
    decoder = framed_decoder(registry)
    bare = write(EVENT_SCHEMA, report(delivery_report_id="r"))
    [item] = decoder.decode([Record(bare, own=own)])
    assert (item.reason if isinstance(item, Rejection) else "known") == reason


def test_an_id_in_a_header_needs_a_registry() -> None:
    decoder = framed_decoder()
    bare = write(EVENT_SCHEMA, report())
    framed = write(EVENT_SCHEMA, report(), single_object_prefix(EVENT_SCHEMA))
    own: list[tuple[str, bytes | None]] = [(HEADER, b"\0\0\0\0\7")]
    rejected, event = decoder.decode([Record(bare, own=own), Record(framed, own=own)])
    assert isinstance(rejected, Rejection)
    assert rejected.reason == "unknown_schema"
    assert not isinstance(event, Rejection)


def test_an_outage_rejects_nothing_and_is_over_when_it_is_over(
    server: Answers, registry: Registry
) -> None:
    decoder = framed_decoder(registry)
    records = [Record(b""), Record(write(EVENT_SCHEMA, report(), confluent_prefix(7)))]
    server.say(503, "")
    with pytest.raises(Unavailable):
        decoder.decode(records)
    server.say(200, {"schema": EVENT_SCHEMA})
    assert not isinstance(decoder.decode(records)[1], Rejected)


def test_an_answer_without_a_schema_is_not_kept(server: Answers, registry: Registry) -> None:
    server.say(200, {})
    with pytest.raises(Unavailable):
        registry.schema(7)
    server.say(200, {"schema": EVENT_SCHEMA})
    assert registry.schema(7).text == EVENT_SCHEMA


def test_nobody_there_is_unavailable(clock: HandTurnedClock) -> None:
    registry = Registry.connect("http://127.0.0.1:1", ONCE, clock, GRACE_S)
    with pytest.raises(Unavailable, match="Schema Registry"):
        registry.schema(7)
    registry.close()


def test_silence_is_unavailable(server: Answers, clock: HandTurnedClock) -> None:
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read()  # until the client has hung up

        def log_message(self, *args: Any) -> None:
            pass

    server.RequestHandlerClass = Silent
    registry = Registry.connect(server.url(), {"max.retries": 0, "timeout": 0.2}, clock, GRACE_S)
    with pytest.raises(Unavailable, match="Timeout"):
        registry.schema(7)
    registry.close()


@pytest.mark.parametrize("options", [{"no.such.option": 1}, {"timeout": 1, "max.retries": "x"}])
def test_bad_options_are_a_config_error(options: dict[str, object], clock: HandTurnedClock) -> None:
    with pytest.raises(ConfigError, match="Schema Registry"):
        Registry.connect("http://127.0.0.1:1", options, clock, GRACE_S)


def test_a_bad_url_is_a_config_error(clock: HandTurnedClock) -> None:
    with pytest.raises(ConfigError, match="Invalid url"):
        Registry.connect("ftp://example.com", {}, clock, GRACE_S)


@pytest.mark.parametrize("status", [409, 422])
def test_a_schema_that_the_registry_refuses_is_a_config_error(
    server: Answers, registry: Registry, status: int
) -> None:
    answers = iter([(404, MISSING), (status, {"error_code": status, "message": "incompatible"})])

    class Refuses(Handler):
        def do_POST(self) -> None:
            server.say(*next(answers))
            self.do_GET()

    server.RequestHandlerClass = Refuses
    with pytest.raises(ConfigError, match="t-value: incompatible"):
        registry.register("t-value", EVENT_SCHEMA)


def test_registering_during_an_outage_is_unavailable(server: Answers, registry: Registry) -> None:
    for status, body in ((503, ""), (404, MISSING), (200, {"subject": "t-value"})):
        server.say(status, body)
        with pytest.raises(Unavailable):
            registry.register("t-value", EVENT_SCHEMA)

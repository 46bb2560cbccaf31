"""Log lines and clocks."""

from __future__ import annotations

import io
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator

import pytest

from processor.runtime.clock import SystemClock
from processor.runtime.logs import set_up_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def lines(form: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(level, form, stream)
    return stream


def test_a_line_is_key_value_pairs() -> None:
    stream = lines("kv")
    logging.getLogger("processor.x").info(
        "restored %s", "all", extra={"partition": 3, "why": 'a "b"\n=c'}
    )
    line = stream.getvalue()
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info logger=processor\.x "
        r'msg="restored all" partition=3 why="a \\"b\\"\\n=c"\n',
        line,
    ), line


def test_a_line_is_a_json_object() -> None:
    stream = lines("json")
    logging.getLogger("processor.x").warning("odd", extra={"seconds": 1.5, "topics": ["a"]})
    record = json.loads(stream.getvalue())
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "logger": "processor.x",
        "msg": "odd",
        "seconds": 1.5,
        "topics": ["a"],
    }


@pytest.mark.parametrize("form", ["kv", "json"])
def test_a_traceback_stays_on_its_line(form: str) -> None:
    stream = lines(form)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("processor.x").exception("bug")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in line


def test_the_level_holds_and_chatty_libraries_are_quiet() -> None:
    stream = lines("kv", "WARNING")
    logging.getLogger("processor.x").info("hidden")
    logging.getLogger("urllib3.connectionpool").warning("Retrying https://host/path?token=x")
    assert stream.getvalue() == ""


def test_warnings_are_lines_too() -> None:
    stream = lines("kv")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", stacklevel=1)
    assert "level=warning logger=py.warnings" in stream.getvalue()


def test_the_clocks_tell_the_time_and_go_on() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1_000
    before = clock.monotonic_s()
    time.sleep(0.01)
    assert 0.005 < clock.monotonic_s() - before < 5

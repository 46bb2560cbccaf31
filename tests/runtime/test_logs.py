"""Log lines and clocks."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from processor.runtime.clock import SystemClock
from processor.runtime.logs import log_uncaught, set_up_logging


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
        "partition running",
        extra={"partition": 3, "seconds": 0.5, "offsets": [1, None], "why": 'a "b"\n=c'},
    )
    line = stream.getvalue()
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info logger=processor\.x "
        r'msg="partition running" partition=3 seconds=0\.5 offsets=\[1,null\] '
        r'why="a \\"b\\"\\n=c"\n',
        line,
    ), line


FIELDS = {
    "partition": 3,
    "seconds": 1.5,
    "topics": ["a", "b"],
    "places": ((0, 42),),
    "reasons": {"bad_key": 2},
    "is_whole": True,
    "offset": None,
    "why": ValueError("broken"),
    "for_s": float("inf"),
}


def test_a_line_is_a_json_object_in_which_numbers_are_numbers() -> None:
    stream = lines("json")
    logging.getLogger("processor.x").warning("odd", extra=FIELDS)
    record = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "logger": "processor.x",
        "msg": "odd",
        "partition": 3,
        "seconds": 1.5,
        "topics": ["a", "b"],
        "places": [[0, 42]],
        "reasons": {"bad_key": 2},
        "is_whole": True,
        "offset": None,
        "why": "broken",
        "for_s": "inf",
    }


def test_both_forms_have_the_same_names_in_the_same_order() -> None:
    as_json, as_pairs = lines("json"), io.StringIO()
    logging.getLogger("processor.x").warning("odd", extra=FIELDS)
    set_up_logging("INFO", "kv", as_pairs)
    logging.getLogger("processor.x").warning("odd", extra=FIELDS)
    names = re.findall(r"(\w+)=", as_pairs.getvalue())
    assert names == list(json.loads(as_json.getvalue()))


@pytest.mark.parametrize("form", ["kv", "json"])
def test_a_librarys_line_keeps_its_own_level_and_logger(form: str) -> None:
    stream = lines(form)
    extra = {"level": "none", "time": "never"}
    logging.getLogger("anyones").warning("%d of %s", 3, "them", extra=extra)
    said = stream.getvalue()
    assert all(word in said for word in ("warning", "anyones", "3 of them"))
    assert not any(word in said for word in ("none", "never"))


@pytest.mark.parametrize("form", ["kv", "json"])
def test_a_traceback_stays_on_its_line(form: str) -> None:
    stream = lines(form)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("processor.x").exception("bug")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in line
    if form == "json":
        assert json.loads(line)["error"].startswith("Traceback (most recent call last):")


@pytest.fixture
def hooks() -> Iterator[None]:
    before = sys.excepthook, threading.excepthook
    log_uncaught()
    yield
    sys.excepthook, threading.excepthook = before


@pytest.mark.usefixtures("hooks")
def test_a_bug_that_nobody_caught_is_a_line_like_any_other() -> None:
    def bug() -> None:
        raise ValueError("why")

    stream = lines("json")
    thread = threading.Thread(target=bug)
    thread.start()
    thread.join()
    try:
        bug()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in told] == ["error", "error"]
    assert all("in bug" in line["error"] for line in told)


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

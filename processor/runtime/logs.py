"""Log lines on standard error: key=value pairs, or one JSON object a line.

An event is a constant sentence, and what varies are fields, so that lines can be selected by them:
`log.info("partition running", extra={"partition": 3, "offset": 42})` gives
`time=2026-01-02T03:04:05.678Z level=info logger=processor.worker.cycle msg="partition running"
partition=3 offset=42`, and in JSON the numbers are numbers. Every layer logs like this, by the
standard library alone, so that libraries' own lines come out alike; tests/test_tidy.py holds it.

Names that mean the same everywhere: `partition` and `offset` (of the events topic), `partitions`
(a list), `reason` (a code, one of few), `why` (a sentence), `org`, `rows`, `events`; seconds end
in `_s`. No personal data is ever to be given to a logger: nothing here looks into values.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_log = logging.getLogger(__name__)

_PLAIN: Final = re.compile(r"[^\s=\"\\]+")
# Libraries that log every request or retry at INFO or WARNING, some with URLs in full.
_NOISY: Final = (
    "urllib3",
    "requests",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "authlib",
    "simple_salesforce",
)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    at = datetime.fromtimestamp(record.created, UTC)
    fields: dict[str, object] = {
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    for name, value in vars(record).items():
        if name not in _STANDARD:
            fields.setdefault(name, _plain(value))
    if record.exc_info:
        fields["error"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _plain(value: object) -> object:
    """What JSON can say: numbers stay numbers, collections become lists and objects."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)


class KeyValueFormatter(logging.Formatter):
    """One line of key=value; a value with spaces, quotes or line ends is a JSON string."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_value(value)}" for name, value in _fields(record).items())


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record), ensure_ascii=False)


def set_up_logging(level: str = "INFO", form: str = "kv", stream: TextIO | None = None) -> None:
    """Replace all handlers of the root logger by one. `form`: kv or json."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else KeyValueFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def log_uncaught() -> None:
    """A bug that ends the process, or a thread of it, is a line like any other."""

    def of_thread(what: threading.ExceptHookArgs) -> None:
        if what.exc_value is not None:
            _tell_uncaught(what.exc_value)

    sys.excepthook = lambda _type, error, _traceback: _tell_uncaught(error)
    threading.excepthook = of_thread


def _tell_uncaught(error: BaseException) -> None:
    _log.error("unexpected error, which is a bug: report it, with this line", exc_info=error)

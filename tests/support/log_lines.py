"""Log lines as an operator sees them: with their fields, which `record.getMessage()` leaves out."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from processor.runtime.logs import KeyValueFormatter


def line_of(record: logging.LogRecord) -> str:
    """Without its time and its logger."""
    return KeyValueFormatter().format(record).split(" ", 3)[3]


def text_of(records: Iterable[logging.LogRecord]) -> str:
    """All of it, as it would be written."""
    return "\n".join(map(KeyValueFormatter().format, records))

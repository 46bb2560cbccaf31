"""Reads delivery reports from JSON Lines, as `processor produce` takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from processor.core.report.shapes import to_avro_report
from processor.errors import Rejected, Rejection


def read_lines(
    stream: Iterable[bytes | str],
) -> Iterator[tuple[int, dict[str, object] | Rejection]]:
    """(line number from 1, report as `delivery_event.avsc` has it, or why it can't be used).

    Blank lines are skipped. Give it a stream opened as binary: then a line that is not UTF-8 is
    one bad line, and not the end.
    """
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield number, _read(line)


def _read(line: bytes | str) -> dict[str, object] | Rejection:
    try:
        obj = json.loads(line)
    except json.JSONDecodeError as error:
        return Rejection("bad_json", f"{error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Rejection("bad_json", type(error).__name__)
    try:
        return to_avro_report(obj)
    except Rejected as rejected:
        return rejected.rejection

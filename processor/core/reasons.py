"""Why a record is refused, by the stage that refuses it: short bounded words, as in `Rejected`.

A reason that is raised and not here would be `other` in the metrics, and an alert on its counter
would miss the first: `tests/test_tidy.py` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    "decode": (
        "bad_account_id",
        "bad_code",
        "bad_magic",
        "bad_message_id",
        "bad_schema",
        "bad_task_id",
        "empty_value",
        "no_code",
        "no_message_id",
        "no_time",
        "trailing_bytes",
        "undecodable",
        "unknown_schema",
    ),
    "collapse": ("too_late",),
}
"""Of dead letters. The stage `salesforce` has Salesforce's own codes."""

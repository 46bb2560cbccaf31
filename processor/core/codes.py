"""The catalogue of delivery status codes: code -> category, text, stage.

Source: MessageMedia support article 4413658199311, "Delivery status codes". The article
prints 403 and 410 on one line and lists 400 twice; read so, it has the 30 codes below.
The stages are ours (docs/decisions/0001-stages.md): the article groups codes by category,
but a category does not say whether a message has arrived. "Delivery" holds 200 as well as 220.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from processor.errors import Rejected


class Category(StrEnum):
    """The four categories of the article; the hundreds digit of a code."""

    PROCESSING = "Processing"
    DELIVERY = "Delivery"
    DISCARDED = "Discarded"
    FAILED = "Failed"


class Stage(IntEnum):
    """How far a code says that its message has come. A greater stage is nearer to the handset."""

    PROCESSING = 0
    REROUTED = 1
    SUBMITTED = 2
    AT_PROVIDER = 3
    UNDELIVERED = 4
    DELIVERED = 5
    ON_HANDSET = 6


class Code(NamedTuple):
    """One status code. `final`: no further report is expected, save 221 after 220 and a reroute."""

    number: int
    category: Category
    text: str
    stage: Stage
    final: bool
    known: bool


MIN_CODE: Final = 100
MAX_CODE: Final = 499
CODE_END: Final = MAX_CODE + 1
"""The length of a list that has a place for each code."""

_CATEGORIES: Final = {
    1: Category.PROCESSING,
    2: Category.DELIVERY,
    3: Category.DISCARDED,
    4: Category.FAILED,
}

_TEXTS: Final = {
    101: "Message being processed by the gateway",
    102: "Message is being rerouted to a different provider after failing via the first provider",
    151: "Message held for screening",
    200: "Message submitted to downstream provider for delivery",
    210: "Message accepted by downstream provider",
    211: "Message is enroute for delivery by provider",
    212: "Message submitted. Delivery pending",
    213: "Message scheduled for delivery by downstream provider",
    220: "Message delivered",
    221: "Message delivered to the handset",
    301: "Usage threshold reached. Message discarded",
    302: "Destination address blocked. Message discarded",
    303: "Source address blocked. Message discarded",
    304: "Message dropped. Contact support",
    305: "Message discarded due to duplicate detection",
    320: "Message validity period has expired (prior to submission)",
    330: "Gateway failure",
    331: "Message discarded",
    332: "No available route to destination",
    333: "Source address unsupported for this destination",
    400: "Message failed; undeliverable",
    401: "Message validity period has expired (before delivery)",
    402: "Message rejected by downstream provider",
    403: "Message skipped by downstream provider",
    405: "Message cancelled or deleted by provider",
    410: "Invalid source address",
    411: "Invalid destination address",
    412: "Destination address blocked",
    413: "SMS service unavailable on destination",
    414: "Destination unreachable",
}

_STAGES: Final = {
    102: Stage.REROUTED,
    210: Stage.AT_PROVIDER,
    211: Stage.AT_PROVIDER,
    212: Stage.AT_PROVIDER,
    213: Stage.AT_PROVIDER,
    220: Stage.DELIVERED,
    221: Stage.ON_HANDSET,
}

_STAGE_OF_CATEGORY: Final = {
    Category.PROCESSING: Stage.PROCESSING,
    Category.DELIVERY: Stage.SUBMITTED,
    Category.DISCARDED: Stage.UNDELIVERED,
    Category.FAILED: Stage.UNDELIVERED,
}


def _code(number: int) -> Code:
    category = _CATEGORIES[number // 100]
    stage = _STAGES.get(number, _STAGE_OF_CATEGORY[category])
    known = number in _TEXTS
    text = _TEXTS.get(number, f"Unknown status code {number}")
    return Code(number, category, text, stage, stage >= Stage.UNDELIVERED, known)


CODES: Final = {number: _code(number) for number in range(MIN_CODE, CODE_END)}
"""Every code that has a category, known or not."""

# By a code's number, because compiled code reads a list without a hash.
FINAL: Final = [number in CODES and CODES[number].final for number in range(CODE_END)]
"""Whether it is final."""
STAGE: Final = [int(CODES[number].stage) if number in CODES else -1 for number in range(CODE_END)]
"""Its stage; -1: there is no such code."""

BY_DIGITS: Final = {str(number): number for number in CODES}
"""Codes as they stand in texts."""

CATALOGUE: Final = tuple(code for code in CODES.values() if code.known)
"""The 30 documented codes, in order."""


def parse_code(raw: object) -> int:
    """A status code as it comes (an int, or a string of digits with spaces around it) -> int.

    Raises Rejected (`bad_code`) for anything else, and for a number outside 100..499, which has
    no category. `"220.0"` is not a code, and True is not 1.
    """
    if isinstance(raw, str):
        digits = raw.strip()
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else -1  # noqa: PLR2004
    elif isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    else:
        number = -1
    if number in CODES:
        return number
    raise Rejected("bad_code", f"{type(raw).__name__} is not a status code of 100-499")

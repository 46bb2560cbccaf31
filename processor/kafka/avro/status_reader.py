"""The bytes of `delivery_status.avsc` as we write them -> a message's state.

A restore decodes every status of a partition. What is not plainly as we write it is left to
fastavro. A law (tests/kafka/avro/test_status_reader.py): what is read here, it reads the same.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from processor.core.events import OUTCOMES, MessageState
from processor.kafka.avro.steps import Slot, steps_of
from processor.kafka.avro.value_reader import ValueReader

_TEXTS: Final = ("message_id", "account_id", "task_id")
_NUMBERS: Final = (
    "account_at",
    "task_at",
    "code",
    "version",
    "version_at",
    "settled.version",
    "settled.code",
    "settled.at",
    "settled.outcome",
)


@final
class StatusReader:
    """Of one schema, which has all our fields."""

    def __init__(self, steps: list[int]) -> None:
        self._values: Final = ValueReader(steps, len(_TEXTS), len(_NUMBERS))

    def read(self, value: bytes, begin: i64) -> MessageState | None:
        """The state of the record that begins there. None: let fastavro read it."""
        values = self._values
        if not values.read(value, begin):
            return None
        message_id, account_id, task_id = values.texts
        (
            account_at, task_at, code, version, version_at,
            settled_version, settled_code, settled_at, outcome,
        ) = values.numbers  # fmt: skip
        if message_id is None or code not in values.times:
            return None
        return MessageState(
            message_id,
            values.times,
            code,
            task_id or None,
            task_at,
            account_id or None,
            account_at,
            version,
            version_at,
            settled_version,
            settled_code,
            settled_at,
            OUTCOMES[outcome],
        )


def status_reader(parsed: Any) -> StatusReader:
    """For our own schema, parsed by fastavro."""
    wanted = {name: Slot(text=index) for index, name in enumerate(_TEXTS)}
    wanted |= {name: Slot(number=index) for index, name in enumerate(_NUMBERS)}
    steps = steps_of(parsed, wanted | {"history": Slot(codes=True)})
    if steps is None:
        raise AssertionError("our own schema can't be read straight down")
    return StatusReader(steps)

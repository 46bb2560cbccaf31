"""The values of one writer's schema -> events, where they are as nearly all are.

Whatever is odd about a value (its bytes, its ids, its code, its times) is not judged here: then
there is no event, and the caller lets fastavro and `core.report` look at it. Two laws
(tests/kafka/avro/test_event_reader.py): what is read here, those read the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from mypy_extensions import i64

from processor.core.codes import BY_DIGITS, MAX_CODE, MIN_CODE
from processor.core.events import DeliveryEvent
from processor.core.report.fields import (
    ACCOUNT_ID,
    CODE_FIELDS,
    EARLIEST_STAMP,
    MAX_ID_BYTES,
    MESSAGE_ID,
    METADATA,
    VENDOR_ACCOUNT,
    ReportRules,
)
from processor.kafka.avro.steps import Slot, steps_of
from processor.kafka.avro.value_reader import ABSENT, ValueReader

_MESSAGE_ID: Final = 0  # slots of texts
_TASK_ID: Final = 1
_ACCOUNT_ID: Final = 2
_CODE_TEXTS: Final = 3
_CODES: Final = 0  # slots of numbers
_TIMES: Final = len(CODE_FIELDS)


@final
class EventReader:
    """Of one schema. `units`: for times that are finer than milliseconds, how many make one."""

    def __init__(self, steps: list[int], rules: ReportRules, units: Mapping[str, int]) -> None:
        self._units: Final = [units.get(name, 1) for name in rules.time_fields]
        numbers = _TIMES + len(self._units)
        texts = _CODE_TEXTS + len(CODE_FIELDS)
        self._values: Final = ValueReader(steps, texts, numbers, rules.task_id_key)

    def read(self, value: bytes, begin: i64, record_time: i64) -> DeliveryEvent | None:
        """The event of the record that begins there, in a Kafka record of that time (ms). None:
        let fastavro read it.
        """
        values = self._values
        if record_time < EARLIEST_STAMP or not values.read(value, begin):
            return None
        texts = values.texts
        message_id = texts[_MESSAGE_ID]
        task_id = texts[_TASK_ID]
        account_id = texts[_ACCOUNT_ID]
        if not message_id or not (_fits(message_id) and _fits(task_id) and _fits(account_id)):
            return None
        code = self._code()
        at = self._event_time()
        if code == ABSENT or not EARLIEST_STAMP <= at <= record_time:
            return None
        if task_id is not None:
            task_id = task_id.strip() or None
        if account_id is not None:
            account_id = account_id.strip() or None
        return DeliveryEvent(message_id, code, at, record_time, task_id, account_id)

    def _code(self) -> i64:
        """The first code that is set; ABSENT: it is not plainly one."""
        numbers, texts = self._values.numbers, self._values.texts
        for index in range(len(CODE_FIELDS)):
            number: i64 = numbers[_CODES + index]
            if number != ABSENT:
                return number if MIN_CODE <= number <= MAX_CODE else ABSENT
            text = texts[_CODE_TEXTS + index]
            if text is not None:
                return BY_DIGITS.get(text, ABSENT)
        return ABSENT

    def _event_time(self) -> i64:
        """The first time that is set (ms); ABSENT: none is."""
        numbers = self._values.numbers
        for index, unit in enumerate(self._units):
            at: i64 = numbers[_TIMES + index]
            if at != ABSENT:
                return at if unit == 1 else at // unit
        return ABSENT


def _fits(text: str | None) -> bool:
    """Whether it is surely not too long. A character takes a byte at least, and four at most."""
    return (
        text is None
        or len(text) <= MAX_ID_BYTES // 4
        or (len(text) <= MAX_ID_BYTES and text.isascii())
    )


def event_reader(parsed: Any, rules: ReportRules, units: Mapping[str, int]) -> EventReader | None:
    """For records of a schema parsed by fastavro; None: fastavro reads all its values."""
    wanted = {
        MESSAGE_ID: Slot(text=_MESSAGE_ID),
        METADATA: Slot(entry=Slot(text=_TASK_ID)),
        f"{VENDOR_ACCOUNT}.{ACCOUNT_ID}": Slot(text=_ACCOUNT_ID),
    }
    for index, name in enumerate(rules.time_fields):
        wanted[name] = Slot(number=_TIMES + index)
    for index, name in enumerate(CODE_FIELDS):
        wanted[name] = Slot(text=_CODE_TEXTS + index, number=_CODES + index)
    steps = steps_of(parsed, wanted)
    return None if steps is None else EventReader(steps, rules, units)

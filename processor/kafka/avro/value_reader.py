"""Reads a record value by the steps of its schema (`steps.py`): the hottest loop of all.

It steps over what nobody wants, and is a shortcut, never a judge: where the bytes are not plainly
what the schema says it declines, and the caller lets fastavro read the value. A law
(tests/kafka/avro/test_event_reader.py): whatever it accepts, fastavro reads the same.
"""

from __future__ import annotations

from types import FunctionType
from typing import Final, final

from mypy_extensions import i64

from processor.core.codes import CODE_END, MIN_CODE

ABSENT: Final = -9_223_372_036_854_775_807  # a number that is null, or that the schema has not
_MAX_VARINT_SHIFT: Final = 56  # nine bytes, fewer than Avro allows: the last one could overflow
_DIGITS: Final = 6  # the zigzag length of a code's three digits
_ZERO: Final = 48
_NINE: Final = 57
_ASCII_END: Final = 128


@final
class Step:
    """What to do next; the numbers behind it in the list are its operands."""

    END: Final = 0
    SKIP_NUMBER: Final = 1
    NUMBER: Final = 2  # slot
    SKIP_SIZED: Final = 3
    SKIP_TEXT: Final = 4  # text is only text where it is UTF-8, wanted or not
    TEXT: Final = 5  # slot
    UNION: Final = 6  # branches, the first step of each
    JUMP: Final = 7  # to
    LOOKUP: Final = 8  # the step after it, the first step of the wanted value; then any other's
    SKIP_MAP: Final = 9  # the step after it; then those of a value
    SKIP_ARRAY: Final = 10  # the same
    SKIP_BYTES: Final = 11  # how many
    SKIP_BOOLEAN: Final = 12
    SKIP_SYMBOL: Final = 13  # how many there are
    SYMBOL: Final = 14  # how many there are, slot
    TIMES_BY_CODE: Final = 15
    NO_TEXT: Final = 16  # slot


class _DeclinedError(ValueError):
    """fastavro has to look."""


@final
class ValueReader:
    """Reads values of one schema into slots: `texts` (None: null, or none) and `numbers` (ABSENT).

    `key`: the entry of a map that is wanted. `times`: the map of times by code, if there is one.
    What is in the slots is of the last value, and means nothing where `read` returned False.
    """

    def __init__(self, steps: list[int], texts: int, numbers: int, key: str = "") -> None:
        self.texts: list[str | None] = [None] * texts
        self.numbers: list[int] = [ABSENT] * numbers
        self.times: dict[int, int] = {}
        self._steps: Final = steps
        self._key: Final = key.encode()
        self._bytes = b""
        self._at: i64 = 0
        self._end: i64 = 0

    def read(self, value: bytes, begin: i64) -> bool:
        """Whether the record that begins there ends with the value, and was plain to read."""
        self._bytes = value
        self._at = begin
        self._end = len(value)
        for index in range(len(self.texts)):
            self.texts[index] = None
        for index in range(len(self.numbers)):
            self.numbers[index] = ABSENT
        try:
            self._run(0)
        except (IndexError, ValueError):  # UnicodeDecodeError is one
            return False
        return self._at == self._end

    def _run(self, step: i64) -> None:  # noqa: C901, PLR0912 - one branch for each step
        """The steps from there to the next END."""
        steps = self._steps
        while True:
            what: i64 = steps[step]
            step += 1
            if what == Step.SKIP_TEXT:
                self._skip_text()
            elif what == Step.SKIP_SIZED:
                size = self._size()
                self._at += size
            elif what == Step.TEXT:
                self.texts[steps[step]] = self._text()
                step += 1
            elif what == Step.NUMBER:
                self.numbers[steps[step]] = self._number()
                step += 1
            elif what == Step.SKIP_NUMBER:
                self._number()
            elif what == Step.UNION:
                branch = self._below(steps[step])
                step = steps[step + 1 + branch]
            elif what == Step.JUMP:
                step = steps[step]
            elif what == Step.END:
                return
            elif what == Step.LOOKUP:
                self._lookup(step + 2, steps[step + 1])
                step = steps[step]
            elif what == Step.TIMES_BY_CODE:
                self._read_times()
            elif what == Step.SYMBOL:
                self.numbers[steps[step + 1]] = self._below(steps[step])
                step += 2
            else:
                step = self._skip(what, step)

    def _skip(self, what: i64, step: i64) -> i64:
        """What events seldom have. Returns the next step."""
        if what == Step.SKIP_BYTES:
            size: i64 = self._steps[step]
            if size > self._end - self._at:
                raise _DeclinedError
            self._at += size
        elif what == Step.SKIP_BOOLEAN:
            if self._bytes[self._at] > 1:
                raise _DeclinedError
            self._at += 1
            return step
        elif what == Step.SKIP_SYMBOL:
            self._below(self._steps[step])
        elif what == Step.NO_TEXT:
            self.texts[self._steps[step]] = None
        else:
            is_map = what == Step.SKIP_MAP
            count = self._count()
            while count:
                for _ in range(count):
                    if is_map:
                        self._skip_text()
                    self._run(step + 1)
                count = self._count()
            return self._steps[step]
        return step + 1

    # -- Avro specification, "Binary encoding" -------------------------------------------------

    def _number(self) -> i64:
        """A zigzag varint."""
        value = self._bytes
        at = self._at
        byte: i64 = value[at]
        at += 1
        number: i64 = byte & 0x7F
        shift: i64 = 7
        while byte >= _ASCII_END:
            if shift > _MAX_VARINT_SHIFT:
                raise _DeclinedError
            byte = value[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
        self._at = at
        return (number >> 1) ^ -(number & 1)

    def _size(self) -> i64:
        """How many bytes follow; they are there."""
        size = self._number()
        if size < 0 or size > self._end - self._at:
            raise _DeclinedError
        return size

    def _text(self) -> str:
        size = self._size()
        begin = self._at
        self._at = begin + size
        return self._bytes[begin : begin + size].decode()

    def _skip_text(self) -> None:
        self._check_text(self._size())

    def _check_text(self, size: i64) -> None:
        value = self._bytes
        at = self._at
        end: i64 = at + size
        self._at = end
        while at < end:
            if value[at] >= _ASCII_END:
                value[at:end].decode()
                return
            at += 1

    def _below(self, count: i64) -> i64:
        """The index of a branch or a symbol."""
        index = self._number()
        if index < 0 or index >= count:
            raise _DeclinedError
        return index

    def _count(self) -> i64:
        """Of a block's items; 0: there are no more. One that gives its size, or has more items than
        the value has bytes, is not for us.
        """
        count = self._number()
        if count < 0 or count > self._end:
            raise _DeclinedError
        return count

    def _lookup(self, other: i64, wanted: i64) -> None:
        """A map, of which the last entry with the key counts."""
        size_of_key: i64 = len(self._key)
        count = self._count()
        while count:
            for _ in range(count):
                size = self._size()
                begin = self._at
                self._check_text(size)
                if size == size_of_key and self._bytes[begin : begin + size] == self._key:
                    self._run(wanted)
                else:
                    self._run(other)
            count = self._count()

    def _read_times(self) -> None:
        """A map of times by code."""
        value = self._bytes
        times: dict[int, int] = {}
        count = self._count()
        while count:
            for _ in range(count):
                at = self._at
                hundreds: i64 = value[at + 1] - _ZERO
                tens: i64 = value[at + 2] - _ZERO
                ones: i64 = value[at + 3] - _ZERO
                code: i64 = 100 * hundreds + 10 * tens + ones
                if (
                    value[at] != _DIGITS
                    or not 0 <= tens <= _NINE - _ZERO
                    or not 0 <= ones <= _NINE - _ZERO
                    or not MIN_CODE <= code < CODE_END
                ):
                    raise _DeclinedError
                self._at = at + 4
                times[code] = self._number()
            count = self._count()
        self.times = times


PAYS: Final = not isinstance(ValueReader.read, FunctionType)
"""Whether to use it: compiled it takes a quarter of fastavro's time, interpreted six times that."""

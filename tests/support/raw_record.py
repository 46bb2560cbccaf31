"""A record of the events topic that never was in Kafka."""

from __future__ import annotations


class Raw:
    """A record as the decoder reads it."""

    def __init__(self, value: bytes | None, timestamp_ms: int) -> None:
        self._value, self._timestamp_ms = value, timestamp_ms

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp_ms

    def topic(self) -> str | None:
        return "events"

    def partition(self) -> int | None:
        return 0

    def offset(self) -> int | None:
        return 0

    def key(self) -> bytes | None:
        return None

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

"""A status topic's partition and its committed position, in memory: what a restoration reads."""

from __future__ import annotations

from processor.core.events import MessageState
from processor.ports import CommittedOffset, Restored


class StatusLog:
    """As much of `ports.Source` and `ports.Outbox` as a restoration needs."""

    def __init__(self, states: list[MessageState]) -> None:
        self.states = states
        self.restores: list[int | None] = []  # where each began

    def committed(self, partition: int, timeout_s: float) -> CommittedOffset:
        return CommittedOffset(7)

    def restore(self, partition: int, checkpoint: int | None) -> Reading:
        self.restores.append(checkpoint)
        return Reading(self.states, checkpoint or 0)


class Reading:
    """Implements `ports.Restore`. Offsets are places in the list."""

    def __init__(self, states: list[MessageState], offset: int) -> None:
        self._states, self._at = states, offset

    def step(self, max_records: int, timeout_s: float) -> Restored:
        read = self._states[self._at : self._at + max_records]
        self._at += len(read)
        end = len(self._states)
        return Restored([(s.message_id, s) for s in read], self._at, end, self._at >= end)

    def close(self) -> None:
        pass

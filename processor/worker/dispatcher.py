"""Owed rows -> the Salesforce writer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from processor.core.attributes import OF_THE_CODE, values_of
from processor.core.events import Change, MessageState
from processor.ports import Owed, Store, Writer
from processor.worker.partition import Partition

SHORTEST_WAIT_S: Final = 0.01
NO_ROOM_WAIT_S: Final = 0.1  # the org is paused, or the window is full


class Dispatcher:
    """Hands rows of one org over as far as its writer has room."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        fields: Mapping[str, str],
        org: str,
    ) -> None:
        self._store, self._writer = store, writer
        self._org = org
        self._of_the_code = {name: of for name, of in fields.items() if of in OF_THE_CODE}
        self._own = {name: of for name, of in fields.items() if of not in OF_THE_CODE}
        self._made: dict[int, dict[str, object]] = {}

    def room(self) -> int:
        """How many rows the writer takes now; 0 while the org is paused."""
        return self._writer.room(self._org)

    def next_due(self, partitions: Collection[int]) -> int | None:
        """When the next row of these partitions is due (ms); None: none waits."""
        return self._store.next_due(self._org, partitions)

    def wait_s(self, partitions: Collection[int], now: int, most_s: float) -> float:
        """How long until a row of these partitions is due and can be taken, at most so long."""
        due_at = self.next_due(partitions)
        if due_at is None:
            return most_s
        least_s = SHORTEST_WAIT_S if self.room() > 0 else NO_ROOM_WAIT_S
        return min(max((due_at - now) / 1000, least_s), most_s)

    def refill(self, partitions: Collection[Partition], now: int) -> None:
        """Rows of these partitions whose time has come: noted as in flight in the store first, then
        submitted. A partition that is still being restored must not be among them.
        """
        room = self.room()
        if room <= 0 or not partitions:
            return
        numbers = {partition.number: partition for partition in partitions}
        rows: dict[int, list[MessageState]] = {}
        for number, state in self._store.due(self._org, now, room, numbers.keys()):
            rows.setdefault(number, []).append(state)
        for number, states in rows.items():
            handed = [state.in_flight() for state in states]
            self._store.put_many(number, map(Change, states, handed))
            self.submit(numbers[number], handed, now)

    def submit(self, partition: Partition, states: Sequence[MessageState], now: int) -> None:
        """Rows that are in flight by the store's account already."""
        hand_over = partition.settlements.hand_over
        rows = [
            Owed(
                state.message_id,
                partition.number,
                state.version,
                self._org,
                state.task_id or "",
                self._values(state),
                *hand_over(state, now),
            )
            for state in states
        ]
        if rows:
            self._writer.submit(rows)

    def _values(self, state: MessageState) -> dict[str, object]:
        """What follows from the code alone is made once for each code; where that is all, the
        writer sees by the object that rows share it.
        """
        values = self._made.get(state.code)
        if values is None:
            values = self._made[state.code] = values_of(state, self._of_the_code)
        return {**values, **values_of(state, self._own)} if self._own else values

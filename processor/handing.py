"""Owed rows -> the Salesforce writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from processor.core.attributes import values_of
from processor.core.events import IN_HAND, MessageState
from processor.ports import Change, Owed, Store, Writer
from processor.settling import Settling


class Handing:
    """Hands rows of one org over as far as its writer has room."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        settling: Settling,
        fields: Mapping[str, str],
        org: str,
    ) -> None:
        self._store, self._writer, self._settling = store, writer, settling
        self._fields, self._org = fields, org

    def room(self) -> int:
        """How many rows the writer takes now; 0 while the org is paused."""
        return self._writer.room(self._org)

    def wait_s(self, now: int, most_s: float) -> float:
        """How long until a row is due, at most so long."""
        due_at = self._store.next_due(self._org)
        if due_at is None:
            return most_s
        return min(max((due_at - now) / 1000, 0.01), most_s)

    def refill(self, now: int) -> None:
        """Rows whose time has come: noted as in hand in the store first, then submitted."""
        room = self.room()
        if room <= 0:
            return
        rows: dict[int, list[MessageState]] = {}
        for partition, state in self._store.due(self._org, now, room):
            rows.setdefault(partition, []).append(state)
        for partition, states in rows.items():
            handed = [state._replace(due_at=IN_HAND) for state in states]
            self._store.put_many(partition, map(Change, states, handed))
            self.submit(partition, handed, now)

    def submit(self, partition: int, states: Sequence[MessageState], now: int) -> None:
        """Rows that are in hand by the store's account already."""
        rows = [
            Owed(
                state.message_id,
                partition,
                state.version,
                self._org,
                state.task_id or "",
                values_of(state, self._fields),
                self._settling.hand_over(partition, state, now),
            )
            for state in states
        ]
        if rows:
            self._writer.submit(rows)

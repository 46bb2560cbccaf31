"""Records of a batch -> plans, one for each partition. Reads the store, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from processor.core.due import Rules
from processor.core.events import DeliveryEvent, MessageState
from processor.core.plan import Plan, plan
from processor.errors import Rejection
from processor.ports import Decoder, RawRecord, Store
from processor.worker.partition import Assignment

Decoded = dict[int, list[DeliveryEvent | Rejection]]


class Planner:
    """Decodes, reads the states of the batch's messages, and plans."""

    def __init__(
        self, decoder: Decoder, store: Store, rules: Rules, assignment: Assignment
    ) -> None:
        self._decoder, self._store, self._rules = decoder, store, rules
        self._assignment = assignment

    def decode(self, batches: Mapping[int, list[RawRecord]], now_s: float) -> Decoded:
        """By partition. Cuts off the batches what a breaker does not let through now. Raises
        Unavailable when the registry does not answer.
        """
        self._decoder.take_oddities()  # of a batch that was not decoded to its end
        for number, batch in batches.items():
            self._assignment[number].throttle.admit(batch, now_s)
        decoded = {number: self._decoder.decode(batch) for number, batch in batches.items()}
        for number, events in decoded.items():
            self._assignment[number].throttle.judge(batches[number], events)
        return decoded

    def plans(
        self,
        decoded: Decoded,
        expiring: Mapping[int, list[MessageState]],
        *,
        flush: bool,
        now: int,
        room: int,
    ) -> dict[int, Plan]:
        """By partition. `flush`: with all settlements, not only those of the batch's messages."""
        plans: dict[int, Plan] = {}
        for number, events in decoded.items():
            partition = self._assignment[number]
            ids = {event.message_id for event in events if not isinstance(event, Rejection)}
            settlements = partition.settlements.of(None if flush else ids)
            ids.update([settlement.message_id for settlement in settlements])
            plans[number] = plan(
                events,
                self._store.get_many(number, ids) if ids else {},
                settlements,
                rules=self._rules,
                now=now,
                stream_time=partition.position.stream_time,
                expired=expiring.get(number, ()),
                room=room,
            )
            room -= len(plans[number].hand_over)
        return plans


class Expiry:
    """What may expire: settled, and older than the retention. Looked for now and then."""

    def __init__(self, store: Store, rules: Rules, most_records: int, interval_s: float) -> None:
        self._store, self._rules = store, rules
        self._most_records, self._interval_s = most_records, interval_s
        self._next_s = 0.0

    def due(self, assignment: Assignment, now_s: float) -> dict[int, list[MessageState]]:
        """By running partition, at most so many records of each; none before the interval is
        over.
        """
        if now_s < self._next_s:
            return {}
        self._next_s = now_s + self._interval_s
        found = {}
        for partition in assignment.running():
            horizon = partition.position.stream_time - self._rules.retention_ms
            states = self._store.expired(partition.number, horizon, self._most_records)
            if states:
                found[partition.number] = states
        return found

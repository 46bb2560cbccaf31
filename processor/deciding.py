"""Records of a batch -> plans, one for each partition. Reads the store, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from processor.core.breaker import Breaker
from processor.core.due import Rules
from processor.core.events import DeliveryEvent, MessageState
from processor.core.plan import Plan, plan
from processor.errors import Rejected, StopProcessing
from processor.ports import Decoder, Position, RawRecord, Store
from processor.settling import Settling

Decoded = dict[int, list[DeliveryEvent | Rejected]]


class Deciding:
    """Decodes, reads the states of the batch's messages, and plans.

    The breaker moves on only when a batch was committed, so that one that is read again after
    an aborted transaction counts once.
    """

    def __init__(self, decoder: Decoder, store: Store, settling: Settling, rules: Rules) -> None:
        self._decoder, self._store = decoder, store
        self._settling, self._rules = settling, rules
        self._breaker = Breaker()
        self._next_breaker = self._breaker

    def decode(self, batches: Mapping[int, Sequence[RawRecord]]) -> Decoded:
        """By partition. Raises Unavailable when the registry does not answer, StopProcessing
        when most of the recent events can't be used.
        """
        decoded = {p: self._decoder.decode(batch) for p, batch in batches.items()}
        breaker = self._breaker
        for events in decoded.values():
            breaker = breaker.after([isinstance(event, Rejected) for event in events])
        if breaker.is_open:
            raise StopProcessing(
                "most of the recent events can't be decoded: see the dead-letter topic's "
                "reasons, mend the producer or the schema, and start again"
            )
        self._next_breaker = breaker
        return decoded

    def committed(self) -> None:
        """What was decoded last is done with."""
        self._breaker = self._next_breaker

    def plans(
        self,
        decoded: Decoded,
        positions: Mapping[int, Position],
        expiring: Mapping[int, list[MessageState]],
        *,
        flush: bool,
        now: int,
        room: int,
    ) -> dict[int, Plan]:
        """By partition. `flush`: with all settlements, not only those of the batch's messages."""
        plans: dict[int, Plan] = {}
        for partition, events in decoded.items():
            ids = {event[0] for event in events if not isinstance(event, Rejected)}
            settlements = self._settling.of(partition, None if flush else ids)
            ids.update(map(itemgetter(0), settlements))
            plans[partition] = plan(
                events,
                self._store.get_many(partition, ids) if ids else {},
                settlements,
                rules=self._rules,
                now=now,
                stream_time=positions[partition].stream_time,
                expired=expiring.get(partition, ()),
                room=room,
            )
            room -= len(plans[partition].hand_over)
        return plans

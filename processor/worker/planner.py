"""Records of a batch -> plans, one for each partition. Reads the store, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from processor.core.due import Rules
from processor.core.events import DeliveryEvent, MessageState
from processor.core.plan import Plan, plan
from processor.errors import Rejected
from processor.ports import Decoder, Position, RawRecord, Store
from processor.worker.breakers import Breakers
from processor.worker.settlements import Settling

Decoded = dict[int, list[DeliveryEvent | Rejected]]


class Deciding:
    """Decodes, reads the states of the batch's messages, and plans."""

    def __init__(
        self,
        decoder: Decoder,
        store: Store,
        settling: Settling,
        rules: Rules,
        breakers: Breakers,
    ) -> None:
        self._decoder, self._store = decoder, store
        self._settling, self._rules = settling, rules
        self._breakers = breakers

    def decode(self, batches: Mapping[int, list[RawRecord]], now_s: float) -> Decoded:
        """By partition. Cuts off the batches what a breaker does not let through now. Raises
        Unavailable when the registry does not answer.
        """
        self._breakers.admit(batches, now_s)
        decoded = {p: self._decoder.decode(batch) for p, batch in batches.items()}
        self._breakers.judge(batches, decoded)
        return decoded

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

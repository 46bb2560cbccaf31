"""What becomes of a row's result: a settlement to publish, or another time at which it is due.

A row is *in hand* from the moment it is submitted until its result is taken here. A settlement
waits until the worker publishes it; until then the row stays owed, so losing it costs one
identical write.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from processor.core.due import Rules, must_verify
from processor.core.events import MessageState, Settlement
from processor.core.settle import Deferral, Stop, defer, flush_due, is_urgent, settle
from processor.ports import Change, Result
from processor.worker.log_limit import Rarely

log = logging.getLogger(__name__)


class Settling:
    """The rows in hand, and the settlements that wait to be published, by partition."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._in_hand: dict[int, dict[str, tuple[MessageState, bool]]] = {}
        self._waiting: dict[int, dict[str, Settlement]] = {}
        self._superseded: set[tuple[int, str]] = set()
        self._oldest: int | None = None
        self._urgent = False
        self._stopped = Rarely[str, None]("for several more reasons")

    def hand_over(self, partition: int, state: MessageState, now: int) -> bool:
        """Note that a row goes to the writer now. Returns whether it is to be read back."""
        verify = must_verify(state, now, self._rules)
        self._in_hand.setdefault(partition, {})[state.message_id] = (state, verify)
        return verify

    def superseded(self, partition: int, ids: Iterable[str]) -> None:
        """A newer version of a row in hand is owed: its result must be settled at once."""
        self._superseded.update((partition, message_id) for message_id in ids)

    def waiting(self) -> int:
        """Settlements not yet published."""
        return sum(map(len, self._waiting.values()))

    def flush_due(self, now: int, interval_ms: int, most_rows: int) -> bool:
        """Whether settlements are to be published without waiting for their messages' events."""
        oldest = now if self._oldest is None else self._oldest
        return flush_due(self.waiting(), oldest, now, interval_ms, most_rows, urgent=self._urgent)

    def partitions(self) -> list[int]:
        return [partition for partition, waiting in self._waiting.items() if waiting]

    def of(self, partition: int, ids: Collection[str] | None) -> list[Settlement]:
        """The settlements of a partition: of these messages, or (None) all."""
        waiting = self._waiting.get(partition)
        if not waiting:
            return []
        if ids is None:
            return list(waiting.values())
        return [waiting[message_id] for message_id in waiting.keys() & ids]

    def published(self, partition: int, settlements: Iterable[Settlement]) -> None:
        """These are durable now."""
        waiting = self._waiting.get(partition, {})
        for settlement in settlements:
            waiting.pop(settlement.message_id, None)
        if not any(self._waiting.values()):
            self._oldest, self._urgent = None, False

    def forget(self, partition: int) -> None:
        """The partition is no longer ours: what was in hand stays owed for the next owner."""
        self._in_hand.pop(partition, None)
        self._waiting.pop(partition, None)
        self._superseded = {key for key in self._superseded if key[0] != partition}
        if not any(self._waiting.values()):
            self._oldest, self._urgent = None, False

    def take(self, result: Result, now: int) -> Deferral | None:
        """Keep the settlement that a result comes to, if it does. What it comes to else, for
        `postpone`. None also where the row is not in hand any more.
        """
        in_hand = self._in_hand.get(result.partition)
        held = in_hand.get(result.message_id) if in_hand else None
        if in_hand is None or held is None or held[0].version != result.version:
            return None
        sent, verified = held
        del in_hand[result.message_id]
        decided = settle(result.verdict, sent, now, self._rules, verified=verified)
        if isinstance(decided, Settlement):
            self._keep(result.partition, decided, now)
            return None
        self._superseded.discard((result.partition, result.message_id))
        if isinstance(result.verdict, Stop):
            self._stopped.add(result.verdict.what_to_change, None)
        return decided

    def postpone(
        self, deferrals: Iterable[Deferral], states: Mapping[str, MessageState], now: int
    ) -> list[Change]:
        """Rows of one partition that could not be settled -> their new times, for the store."""
        changes = [
            Change(current, defer(deferral, current, now, self._rules))
            for deferral in deferrals
            if (current := states.get(deferral.message_id)) is not None
        ]
        for what, rows, _ in self._stopped.due(now):
            log.error("salesforce accepts no row: %s rows=%d", what, rows)
        return changes

    def _keep(self, partition: int, settlement: Settlement, now: int) -> None:
        self._waiting.setdefault(partition, {})[settlement.message_id] = settlement
        key = (partition, settlement.message_id)
        superseded = key in self._superseded
        if is_urgent(settlement.outcome, superseded=superseded):
            self._urgent = True
        self._superseded.discard(key)
        if self._oldest is None:
            self._oldest = now

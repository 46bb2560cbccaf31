"""What becomes of a row's result: a settlement to publish, or another time at which it is due.

A row is *in hand* from the moment it is submitted until its result is taken here. A settlement
waits until the worker publishes it; until then the row stays owed, so losing it costs one
identical write.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from processor.core.due import Rules, must_verify
from processor.core.events import MessageState, Outcome, Settlement
from processor.ports import Change, Differs, Park, Reject, Result, Retry, Settled, Stop, Unknown
from processor.worker.log_limit import Rarely

log = logging.getLogger(__name__)

STOP_RETRY_MS: Final = 60_000
"""How long a row waits when no row can succeed until an admin has changed something."""


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

    def flush_due(self, now: int, interval_ms: int, most: int) -> bool:
        """Whether settlements are to be published without waiting for their messages' events."""
        if self._oldest is None:
            return False
        return self._urgent or now - self._oldest >= interval_ms or self.waiting() >= most

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

    def take(self, result: Result, now: int) -> Settlement | None:
        """Settle a result if it can be settled, without looking at the store.

        None: it can't; the row must be given another time by `postpone`.
        """
        held = self._in_hand.get(result.partition, {}).get(result.message_id)
        if held is None or held[0].version != result.version:
            return None
        settlement = self._judge(result, held[0], held[1], now)
        if settlement is not None:
            del self._in_hand[result.partition][result.message_id]
            self._keep(result.partition, settlement, now)
        return settlement

    def postpone(
        self, results: Iterable[Result], states: Mapping[str, MessageState], now: int
    ) -> list[Change]:
        """Rows of one partition that could not be settled -> their new times, for the store."""
        changes: list[Change] = []
        for result in results:
            held = self._in_hand.get(result.partition, {}).pop(result.message_id, None)
            self._superseded.discard((result.partition, result.message_id))
            current = states.get(result.message_id)
            if held is None or current is None:
                continue
            changes.append(Change(current, self._again(result, held[0], current, now)))
        for what, rows, _ in self._stopped.due(now):
            log.error("salesforce accepts no row: %s rows=%d", what, rows)
        return changes

    def _judge(
        self, result: Result, held: MessageState, verified: bool, now: int
    ) -> Settlement | None:
        outcome, reason = Outcome.REJECTED, ""
        match result.verdict:
            case Settled():
                if held.doubt_at and not verified:
                    return None  # an older value may yet land on top: wait, and read back
                outcome = Outcome.WRITTEN
            case Reject(code):
                reason = code
            case Retry(_, code, whole_org) if not whole_org and self._too_old(held, now):
                reason = code
            case Park(_, code) if self._too_old(held, now):
                reason = code
            case _:
                return None
        return Settlement(held.message_id, held.version, held.code, now, outcome, reason)

    def _again(
        self, result: Result, held: MessageState, current: MessageState, now: int
    ) -> MessageState:
        newer = current.version != held.version
        due_at, doubt_at = now, current.doubt_at
        match result.verdict:
            case Settled():
                due_at = max(now, held.doubt_at + self._rules.unknown_after_ms)
            case Differs():
                doubt_at = 0
            case Unknown():
                doubt_at = now
            case Retry(after_s) | Park(after_s):
                due_at = _next_second(now + round(after_s * 1000))
            case Stop(what):
                self._stopped.add(what, None)
                due_at = now + STOP_RETRY_MS
            case _:
                pass
        if newer:
            due_at = max(now, current.version_at + self._rules.hold_ms(current.code))
        return current._replace(due_at=due_at, doubt_at=doubt_at)

    def _too_old(self, held: MessageState, now: int) -> bool:
        return now - held.version_at > self._rules.give_up_after_ms

    def _keep(self, partition: int, settlement: Settlement, now: int) -> None:
        self._waiting.setdefault(partition, {})[settlement.message_id] = settlement
        key = (partition, settlement.message_id)
        if settlement.outcome is Outcome.REJECTED or key in self._superseded:
            self._urgent = True
        self._superseded.discard(key)
        if self._oldest is None:
            self._oldest = now


def _next_second(at_ms: int) -> int:
    """Rounded up: rows that come back one by one share a request when they are sent again."""
    return -(-at_ms // 1000) * 1000

"""The rows of one partition that the Salesforce writer has, and the settlements to be published.

A row is *in flight* from the moment it is submitted until its result is taken here. A settlement
waits until the worker publishes it; until then the row stays owed, so losing it costs one
identical write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from processor.core.due import Rules, must_verify
from processor.core.events import Change, MessageState, Settlement
from processor.core.settle import Deferral, Park, defer, is_of_the_row, is_urgent, settle
from processor.ports import Result


class _Handed(NamedTuple):
    """A row in flight, to be written or (`verified`) read back. `tried_since`: in ms."""

    state: MessageState
    verified: bool
    tried_since: int


class _Failed(NamedTuple):
    """A version that failed for a reason of its own. `tried_since`: in ms. `apart`: it may do harm
    to others.
    """

    version: int
    tried_since: int
    apart: bool


class Settlements:
    """Of one partition. `oldest_at`: since when the first of them waits (ms; None: none does).
    `urgent`: they are not to wait for their messages' next events.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._in_flight: dict[str, _Handed] = {}
        self._waiting: dict[str, Settlement] = {}
        self._superseded: set[str] = set()
        self._failed: dict[str, _Failed] = {}
        self.oldest_at: int | None = None
        self.urgent = False

    def __len__(self) -> int:
        """Settlements not yet published."""
        return len(self._waiting)

    def hand_over(self, state: MessageState, now: int) -> tuple[bool, bool]:
        """Note that a row goes to the writer now. Returns whether it is to be read back, and
        whether it is to go apart from rows that have not failed.
        """
        verify = must_verify(state, now, self._rules)
        failed = self._failed.get(state.message_id)
        if failed is None or failed.version != state.version:
            failed = _Failed(state.version, now, apart=False)
        self._in_flight[state.message_id] = _Handed(state, verify, failed.tried_since)
        return verify, failed.apart

    def superseded(self, ids: Iterable[str]) -> None:
        """A newer version of these is owed: the result of one in flight must be settled at once."""
        self._superseded.update(message_id for message_id in ids if message_id in self._in_flight)

    def of(self, ids: Collection[str] | None) -> list[Settlement]:
        """The settlements of these messages, or (None) all."""
        waiting = self._waiting
        if ids is None or not waiting:
            return list(waiting.values())
        return [waiting[message_id] for message_id in waiting.keys() & ids]

    def published(self, settlements: Iterable[Settlement]) -> None:
        """These are durable now."""
        for settlement in settlements:
            self._waiting.pop(settlement.message_id, None)
        if not self._waiting:
            self.oldest_at, self.urgent = None, False

    def take(self, result: Result, now: int) -> Deferral | None:
        """Keep the settlement that a result comes to, if it does. What it comes to else, for
        `postpone`. None also where the row is not in flight any more.
        """
        held = self._in_flight.get(result.message_id)
        if held is None or held.state.version != result.version:
            return None
        del self._in_flight[result.message_id]
        decided = settle(
            result.verdict,
            held.state,
            now,
            self._rules,
            verified=held.verified,
            tried_since=held.tried_since,
        )
        if isinstance(decided, Settlement):
            self._failed.pop(result.message_id, None)
            self._keep(decided, now)
            return None
        if is_of_the_row(result.verdict):
            # A Task that is not there does no harm to the other rows of its request.
            apart = not isinstance(result.verdict, Park)
            self._failed[result.message_id] = _Failed(result.version, held.tried_since, apart)
        self._superseded.discard(result.message_id)
        return decided

    def postpone(
        self, deferrals: Iterable[Deferral], states: Mapping[str, MessageState], now: int
    ) -> list[Change]:
        """Rows that could not be settled -> their new times, for the store."""
        return [
            Change(current, defer(deferral, current, now, self._rules))
            for deferral in deferrals
            if (current := states.get(deferral.message_id)) is not None
        ]

    def _keep(self, settlement: Settlement, now: int) -> None:
        message_id = settlement.message_id
        self._waiting[message_id] = settlement
        if is_urgent(settlement.outcome, superseded=message_id in self._superseded):
            self.urgent = True
        self._superseded.discard(message_id)
        if self.oldest_at is None:
            self.oldest_at = now

"""From "assigned" to "running": committed position, restore of the state, start.

Input stays paused meanwhile and the worker goes on polling. The order is what matters: the
stable committed position first (asking for it waits for every open transaction of the last
owner), then the status topic's end, then the states up to that end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from processor.core.due import Rules, reclaim
from processor.core.events import Change
from processor.core.mark import parse, where_to_start
from processor.errors import StoreBlocked, StoreFailed, Unavailable
from processor.ports import (
    Clock,
    CommittedOffset,
    Outbox,
    Position,
    Restore,
    Restored,
    Source,
    Store,
)
from processor.worker.claim import Claim

log = logging.getLogger(__name__)

COMMITTED_TIMEOUT_S: Final = 0.5
STEP_RECORDS: Final = 20_000  # a third of a second; the more at once, the better they sort
STEP_TIMEOUT_S: Final = 0.1
RECLAIM_ROWS: Final = 5_000
PROGRESS_EVERY_S: Final = 5.0
FIRST_WAIT_S: Final = 1.0  # after a store's second failure; then twice as long each time
LONGEST_WAIT_S: Final = 30.0
WELL_AGAIN_S: Final = 60.0  # a store that did not fail for so long is as good as new
TELL_BLOCKED_EVERY_S: Final = 30.0

_ID_SHOWN: Final = 64  # characters; such an id may be of any length
_SKIPPED: Final = (
    "a status is skipped, because the local store can't hold it: its Task is not written. To be "
    "rid of it, run `processor forget` with its message id"
)


class Restoration:
    """One assigned partition on its way to running. `step` until it gives a position. `blocked`:
    the machine does not let its store work.
    """

    def __init__(
        self,
        partition: int,
        source: Source,
        outbox: Outbox,
        store: Store,
        clock: Clock,
        rules: Rules,
        claim: Claim,
        *,
        wipe: bool = False,
    ) -> None:
        self.partition = partition
        self._wipe = wipe
        self.restored = 0
        self.unusable: Counter[str] = Counter()
        self.began_s = clock.monotonic_s()
        self._source, self._outbox, self._store = source, outbox, store
        self._clock, self._rules, self._claim = clock, rules, claim
        self._committed: CommittedOffset | None = None
        self._restore: Restore | None = None
        self._told_s = self.began_s
        self.blocked: StoreBlocked | None = None

    def step(self) -> Position | None:
        """Some of the work; the position to start from when all is done.

        Raises Unavailable when the broker does not answer, and StoreFailed: `begin_again` later.
        Raises StopProcessing when the statuses are another's, or are not those that the offset
        goes with.
        """
        if self._wipe:
            self._store.wipe(self.partition)
            self._wipe = False
        if self._committed is None:
            self._committed = self._source.committed(self.partition, COMMITTED_TIMEOUT_S)
            return None
        if self._restore is None:
            checkpoint = self._store.open(self.partition)
            self._restore = self._outbox.restore(self.partition, checkpoint)
        now = self._clock.now_ms()
        read = self._restore.step(STEP_RECORDS, STEP_TIMEOUT_S)
        self.restored += len(read.changes)
        self._load(read, now)
        self._tell(read.offset, read.end)
        if not read.done:
            return None
        self.close()
        position = self._position(self._committed)
        self._reclaim()
        return position

    def _position(self, committed: CommittedOffset) -> Position:
        """What was kept beside the offset may be lost, or with the statuses: the other has it."""
        kept = parse(self._store.mark(self.partition))
        self._claim.meet(self.partition, kept)
        beside = parse(committed.metadata)
        start = where_to_start(committed.offset, beside, kept, self._claim.ours)
        if start.warning:
            log.warning(
                "unexpected committed offset",
                extra={"partition": self.partition, "why": start.warning},
            )
        return Position(start.offset, start.stream_time)

    def _load(self, read: Restored, now: int) -> None:
        """What the store can never hold is skipped: it is durable, and restoring it again and
        again would keep all the others of its partition from being written, for ever.
        """
        try:
            self._store.load(self.partition, read.changes, read.offset, now, read.mark)
        except StoreFailed:
            fit = [change for change in read.changes if not self._store.unfit(*change)]
            if len(fit) == len(read.changes):
                raise
            self._store.load(self.partition, fit, read.offset, now, read.mark)
            for message_id, state in dict(read.changes).items():
                why = self._store.unfit(message_id, state)
                if why and state is not None:
                    self.unusable[why] += 1
                    log.error(
                        _SKIPPED,
                        extra={
                            "partition": self.partition,
                            "reason": why,
                            "message_id": message_id[:_ID_SHOWN],
                        },
                    )

    def begin_again(self, *, wipe: bool = False) -> None:
        """Forget the restore that was under way; what it has loaded stays. `wipe`: it does not, and
        the next step begins with that.
        """
        self.close()
        self._store.close(self.partition)
        self._wipe = self._wipe or wipe

    def close(self) -> None:
        """Stop reading the status topic (the partition was revoked, or all is done)."""
        if self._restore is not None:
            self._restore.close()
            self._restore = None

    def _reclaim(self) -> None:
        """Whatever is owed may be in the last owner's hands: see `reclaim`."""
        now = self._clock.now_ms()
        changes: list[Change] = []
        for state in self._store.owed_rows(self.partition):
            changes.append(Change(state, reclaim(state, now, self._rules)))
            if len(changes) == RECLAIM_ROWS:
                self._store.put_many(self.partition, changes)
                changes = []
        self._store.put_many(self.partition, changes)

    def _tell(self, offset: int, end: int) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = now_s
            log.info(
                "partition restoring",
                extra={"partition": self.partition, "offset": offset, "end": end},
            )


class Restorations:
    """Takes the steps of all partitions that are assigned and not yet running.

    A store that fails again and again is tried at growing intervals, also when it ran in between.
    """

    def __init__(self) -> None:
        self._not_before_s = 0.0
        self._failures: dict[int, _Failures] = {}
        self._tell_at_s = 0.0

    def wait_s(self, restorations: Iterable[Restoration], now_s: float) -> float:
        """Until the next step of any."""
        free = (self._free_at_s(restoration) for restoration in restorations)
        return max(0.0, self._not_before_s - now_s, min(free, default=0.0) - now_s)

    def failed(self, restoration: Restoration, failure: StoreFailed, now_s: float) -> None:
        """Its store did, now or while the partition ran: wait before the next step."""
        partition = restoration.partition
        known = self._failures.get(partition)
        if known is None or now_s > known.until_s + WELL_AGAIN_S:
            known = self._failures[partition] = _Failures()
        known.until_s = now_s + min(LONGEST_WAIT_S, known.times * FIRST_WAIT_S)
        known.times = max(1, known.times * 2)
        if isinstance(failure, StoreBlocked):
            if restoration.blocked is None:
                log.warning(
                    "partition waits, because its local store can't be used",
                    extra={"partition": partition, "why": failure},
                )
            restoration.blocked = failure

    def step(
        self, restorations: Collection[Restoration], now_s: float
    ) -> list[tuple[Restoration, Position]]:
        """A step for each; those that are done, with the position to start from."""
        done: list[tuple[Restoration, Position]] = []
        if now_s < self._not_before_s:
            return done
        for restoration in restorations:
            if now_s < self._free_at_s(restoration):
                continue
            try:
                position = restoration.step()
            except Unavailable as failure:
                log.warning(
                    "restore will be tried again",
                    extra={
                        "partition": restoration.partition,
                        "retry_after_s": failure.retry_after_s,
                        "why": failure,
                    },
                )
                restoration.begin_again()
                self._not_before_s = now_s + failure.retry_after_s
                continue
            except StoreBlocked as failure:
                restoration.begin_again()
                self.failed(restoration, failure, now_s)
                continue
            except StoreFailed as failure:
                log.warning(
                    "local store wiped: it is restored from the status topic",
                    extra={"partition": restoration.partition, "why": failure},
                )
                restoration.begin_again(wipe=True)
                self.failed(restoration, failure, now_s)
                continue
            if position is not None:
                done.append((restoration, position))
        self._tell_blocked(restorations, now_s)
        return done

    def _free_at_s(self, restoration: Restoration) -> float:
        known = self._failures.get(restoration.partition)
        return 0.0 if known is None else known.until_s

    def _tell_blocked(self, restorations: Iterable[Restoration], now_s: float) -> None:
        blocked = {r.partition: r.blocked for r in restorations if r.blocked is not None}
        if blocked and now_s >= self._tell_at_s:
            self._tell_at_s = now_s + TELL_BLOCKED_EVERY_S
            log.error(
                "the local store can't be used: mend what keeps it from working. It is kept, and "
                "tried again by itself",
                extra={
                    "retry_within_s": LONGEST_WAIT_S,
                    "partitions": sorted(blocked),
                    "why": next(iter(blocked.values())),
                },
            )


@dataclass(slots=True)
class _Failures:
    """Of one partition's store, until it was well for a while."""

    times: int = 0
    until_s: float = 0.0

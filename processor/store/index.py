"""What a batch of changes does to each database of a partition, computed before it is written.

Two indexes list what is owed to Salesforce (codes that are final, and others), by org and due
time; a third lists messages by the hour of their last event, a fourth those of the owed ones that
Salesforce may have been sent already. Numbers in keys are big-endian, so
that key order is time order; an org is preceded by its length. A row in the writer's hands has
the greatest due_at of all (`IN_FLIGHT`): no scan for due rows comes to it, and a reopened store
finds it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from processor.core.codes import CODES
from processor.core.events import MessageState
from processor.core.report.fields import MAX_MESSAGE_ID_BYTES
from processor.errors import StoreFailed
from processor.ports import Change
from processor.store.codec import pack

FINAL, INTERMEDIATE, EXPIRY, DOUBT = range(4)
OWED: Final = (FINAL, INTERMEDIATE)
INDEX_NAMES: Final = (b"owed_final", b"owed_intermediate", b"expiry", b"in_doubt")

MAX_KEY_BYTES: Final = 511  # LMDB's, as its wheels are built
MAX_ORG_BYTES: Final = 200  # with a message id of MAX_MESSAGE_ID_BYTES every key stays below that
HOUR_MS: Final = 3_600_000
DUE_BYTES: Final = 8
HOUR_BYTES: Final = 4
_MAX_HOUR: Final = (1 << 32) - 1
_FINAL_CODES: Final = frozenset(code.number for code in CODES.values() if code.final)


def hour_of(time_ms: int) -> int:
    """The expiry bucket of a time."""
    hour = time_ms // HOUR_MS
    return hour if 0 <= hour <= _MAX_HOUR else 0 if hour < 0 else _MAX_HOUR


class Writes:
    """What one transaction does. Everything is sorted by key."""

    __slots__ = ("drops", "growth", "puts", "state_drops", "state_puts")

    def __init__(self) -> None:
        self.state_puts: list[tuple[bytes, bytes]] = []
        self.state_drops: list[bytes] = []
        self.puts: tuple[list[tuple[bytes, bytes]], ...] = ([], [], [], [])
        self.drops: tuple[list[bytes], ...] = ([], [], [], [])
        self.growth = 0
        """How the number of states changes, if every old state was what it was said to be."""


class Indexer:
    """Computes index keys. `org_of` maps an account id (None: not known) to an org."""

    def __init__(self, org_of: Callable[[str | None], str]) -> None:
        self._org_of = org_of
        self._org_keys: dict[str, bytes] = {}

    def org_key(self, org: str) -> bytes:
        """The beginning of an owed key. Raises StoreFailed for a name that is too long."""
        known = self._org_keys.get(org)
        if known is None:
            name = org.encode()
            if len(name) > MAX_ORG_BYTES:
                raise StoreFailed(f"an org's name has {len(name)} bytes of at most {MAX_ORG_BYTES}")
            known = self._org_keys[org] = bytes([len(name)]) + name
        return known

    def writes(self, changes: Iterable[Change]) -> Writes:
        """Everything to write for the changes; those of one message follow one another."""
        merged: dict[str, tuple[MessageState | None, MessageState | None]] = {}
        for change in changes:
            some = change.new or change.old
            if some is not None:
                earlier = merged.get(some.message_id)
                merged[some.message_id] = change if earlier is None else (earlier[0], change.new)
        writes = Writes()
        for message_id in sorted(merged):  # code point order is UTF-8 byte order
            old, new = merged[message_id]
            if new is not None:
                self._add(writes, message_id.encode(), old, new)
            elif old is not None:
                self._drop(writes, message_id.encode(), old)
        for puts, drops in zip(writes.puts, writes.drops, strict=True):
            puts.sort()
            drops.sort()
        return writes

    def _add(self, writes: Writes, key: bytes, old: MessageState | None, new: MessageState) -> None:
        writes.state_puts.append((key, pack(new)))
        if old is None:
            writes.growth += 1
            self._put_indexes(writes, key, new)
            return
        if (
            old.due_at != new.due_at
            or old.code != new.code
            or old.version != new.version
            or old.settled_version != new.settled_version
            or old.account_id != new.account_id
            or old.doubt_at != new.doubt_at
        ):
            was, now = self._owed_key(old, key), self._owed_key(new, key)
            if was != now:
                if was is not None:
                    writes.drops[was[0]].append(was[1])
                if now is not None:
                    writes.puts[now[0]].append((now[1], b""))
            if _in_doubt(old) != _in_doubt(new):
                if _in_doubt(new):
                    writes.puts[DOUBT].append((key, b""))
                else:
                    writes.drops[DOUBT].append(key)
        if old.history != new.history:
            hour_was = hour_of(max(old.history.values()))
            hour_now = hour_of(max(new.history.values()))
            if hour_was != hour_now:
                writes.drops[EXPIRY].append(hour_was.to_bytes(HOUR_BYTES, "big") + key)
                writes.puts[EXPIRY].append((hour_now.to_bytes(HOUR_BYTES, "big") + key, b""))

    def _put_indexes(self, writes: Writes, key: bytes, new: MessageState) -> None:
        owed = self._owed_key(new, key)
        if owed is not None:
            writes.puts[owed[0]].append((owed[1], b""))
        if _in_doubt(new):
            writes.puts[DOUBT].append((key, b""))
        hour = hour_of(max(new.history.values()))
        writes.puts[EXPIRY].append((hour.to_bytes(HOUR_BYTES, "big") + key, b""))

    def _drop(self, writes: Writes, key: bytes, old: MessageState) -> None:
        writes.growth -= 1
        writes.state_drops.append(key)
        owed = self._owed_key(old, key)
        if owed is not None:
            writes.drops[owed[0]].append(owed[1])
        if _in_doubt(old):
            writes.drops[DOUBT].append(key)
        hour = hour_of(max(old.history.values()))
        writes.drops[EXPIRY].append(hour.to_bytes(HOUR_BYTES, "big") + key)

    def _owed_key(self, state: MessageState, key: bytes) -> tuple[int, bytes] | None:
        """The index and the key in it; None: not owed. Raises OverflowError for a due_at < 0."""
        if state.version == state.settled_version:
            return None
        org = self._org_of(state.account_id)
        prefix = self._org_keys.get(org) or self.org_key(org)
        level = FINAL if state.code in _FINAL_CODES else INTERMEDIATE
        return level, prefix + state.due_at.to_bytes(DUE_BYTES, "big") + key


def unfit(message_id: str, state: MessageState | None) -> str | None:
    """Why this can't be kept under this message id: `bad_key` (none, too long, or of another
    message), `too_large` (a value has no place in what a state is packed to). None: it can be.
    """
    size = len(message_id.encode(errors="replace"))
    if not 0 < size <= MAX_MESSAGE_ID_BYTES:
        return "bad_key"
    if state is not None:
        if state.message_id != message_id:
            return "bad_key"
        try:
            pack(state)
        except StoreFailed:
            return "too_large"
    return None


def _in_doubt(state: MessageState) -> bool:
    return state.doubt_at > 0 and state.version != state.settled_version


def message_key(owed_key: bytes) -> bytes:
    """The message id in an owed key."""
    return owed_key[1 + owed_key[0] + DUE_BYTES :]


def due_of(owed_key: bytes) -> int:
    """The due time in an owed key."""
    start = 1 + owed_key[0]
    return int.from_bytes(owed_key[start : start + DUE_BYTES], "big")

"""What a batch of changes does to each database of a partition, computed before it is written.

Two indexes list what is owed to Salesforce (codes that are final, and others), by org and due
time; a third lists messages by the hour of their last event, a fourth those of the owed ones that
Salesforce may have been sent already. Numbers in keys are big-endian, so
that key order is time order; an org is preceded by its length. A row in the writer's hands has
the greatest due_at of all (`IN_FLIGHT`): no scan for due rows comes to it, and a reopened store
finds it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final, final

from mypy_extensions import i64

from processor.core.codes import FINAL as IS_FINAL
from processor.core.events import IN_FLIGHT, Change, MessageState
from processor.core.report.fields import MAX_MESSAGE_ID_BYTES
from processor.errors import StoreFailed
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
_BEGINNING: Final = -(1 << 62)
_SEEN_PLACES: Final = 1 << 23
_KEY: Final = Struct(">Q").pack
_HOUR: Final = Struct(">I").pack


def hour_of(time_ms: i64) -> i64:
    """The expiry bucket of a time."""
    hour: i64 = time_ms // HOUR_MS
    return hour if 0 <= hour <= _MAX_HOUR else 0 if hour < 0 else _MAX_HOUR


def expiry_key(state: MessageState, key: bytes) -> bytes:
    """Where a message's state has its place among those that may expire."""
    return _HOUR(last_hour(state)) + key


def expiry_end(before_ms: int) -> bytes:
    """Behind the last of those whose last event was in that hour."""
    return _HOUR(hour_of(before_ms)) + b"\xff"


def due_end(prefix: bytes, now_ms: int) -> bytes:
    """Behind the last owed key of an org that is due. None in flight is."""
    return prefix + _KEY(min(now_ms, IN_FLIGHT - 1) + 1)


def last_hour(state: MessageState) -> i64:
    """The expiry bucket of a message's last event."""
    latest: i64 = _BEGINNING
    for at in state.history.values():
        latest = max(latest, at)
    return hour_of(latest)


@final
class Writes:
    """What one transaction does. Everything is sorted by key."""

    def __init__(self) -> None:
        self.state_puts: list[tuple[bytes, bytes]] = []
        self.state_drops: list[bytes] = []
        self.puts: list[list[tuple[bytes, bytes]]] = [[], [], [], []]
        self.drops: list[list[bytes]] = [[], [], [], []]
        self.growth = 0
        """How the number of states changes, if every old state was what it was said to be."""


@final
class _Hour:
    """What is put among the messages whose last event was in one hour."""

    def __init__(self, hour: i64) -> None:
        self.prefix: Final = _HOUR(hour)
        self.puts: Final[list[tuple[bytes, bytes]]] = []


@final
class Seen:
    """Tells message ids that can't have come before from those that may have, and nearly always
    have: what a restore reads into an empty store need not be looked up there.

    One bit for each of 8 million places (1 MB): of a million ids, one in eight is told wrongly,
    which costs a look.
    """

    def __init__(self) -> None:
        self._bits: Final = bytearray(_SEEN_PLACES >> 3)

    def again(self, changes: Sequence[tuple[str, MessageState | None]]) -> set[str]:
        """The messages that may have come before. From now on all of these have."""
        bits = self._bits
        found: set[str] = set()
        for message_id, _ in changes:
            place: i64 = hash(message_id) & (_SEEN_PLACES - 1)
            byte: i64 = bits[place >> 3]
            bit: i64 = 1 << (place & 7)
            if byte & bit:
                found.add(message_id)
            else:
                bits[place >> 3] = byte | bit
        return found


@final
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
        merged: dict[str, Change] = {}
        for change in changes:
            some = change.new or change.old
            if some is not None:
                earlier = merged.get(some.message_id)
                merged[some.message_id] = (
                    change if earlier is None else Change(earlier.old, change.new)
                )
        writes = Writes()
        for message_id in sorted(merged):  # code point order is UTF-8 byte order
            change = merged[message_id]
            if change.new is not None:
                self._add(writes, message_id.encode(), change.old, change.new)
            elif change.old is not None:
                self._drop(writes, message_id.encode(), change.old)
        for level in range(len(INDEX_NAMES)):
            writes.puts[level].sort()
            writes.drops[level].sort()
        return writes

    def loaded(
        self, latest: list[tuple[str, MessageState | None]], old: dict[str, MessageState]
    ) -> Writes:
        """Everything to write for what a restore has read, in the order of message ids. Nearly
        every state of it is settled, and new to the store: a shorter way.
        """
        fresh: list[tuple[bytes, bytes]] = []
        by_hour: dict[int, _Hour] = {}
        others: list[Change] = []
        for message_id, new in latest:
            before = old.get(message_id)
            if before is None and new is not None and not new.owed:
                key = message_id.encode()
                fresh.append((key, pack(new)))
                hour = last_hour(new)
                place = by_hour.get(hour)
                if place is None:
                    place = by_hour[hour] = _Hour(hour)
                place.puts.append((place.prefix + key, b""))
            else:
                others.append(Change(before, new))
        writes = self.writes(others)
        writes.state_puts += fresh
        for hour in sorted(by_hour):
            writes.puts[EXPIRY] += by_hour[hour].puts
        if others:
            writes.state_puts.sort()
            writes.puts[EXPIRY].sort()
        writes.growth += len(fresh)
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
            self._move(writes, key, old, new)
        if old.history is not new.history:
            hour_was = last_hour(old)
            hour_now = last_hour(new)
            if hour_was != hour_now:
                writes.drops[EXPIRY].append(_HOUR(hour_was) + key)
                writes.puts[EXPIRY].append((_HOUR(hour_now) + key, b""))

    def _move(self, writes: Writes, key: bytes, old: MessageState, new: MessageState) -> None:
        """Among the owed ones, and those in doubt."""
        was, now = self._owed_key(old, key), self._owed_key(new, key)
        level_was, level_now = level_of(old), level_of(new)
        if was != now or level_was != level_now:
            if was is not None:
                writes.drops[level_was].append(was)
            if now is not None:
                writes.puts[level_now].append((now, b""))
        if _in_doubt(old) != _in_doubt(new):
            if _in_doubt(new):
                writes.puts[DOUBT].append((key, b""))
            else:
                writes.drops[DOUBT].append(key)

    def _put_indexes(self, writes: Writes, key: bytes, new: MessageState) -> None:
        owed = self._owed_key(new, key)
        if owed is not None:
            writes.puts[level_of(new)].append((owed, b""))
        if _in_doubt(new):
            writes.puts[DOUBT].append((key, b""))
        writes.puts[EXPIRY].append((expiry_key(new, key), b""))

    def _drop(self, writes: Writes, key: bytes, old: MessageState) -> None:
        writes.growth -= 1
        writes.state_drops.append(key)
        owed = self._owed_key(old, key)
        if owed is not None:
            writes.drops[level_of(old)].append(owed)
        if _in_doubt(old):
            writes.drops[DOUBT].append(key)
        writes.drops[EXPIRY].append(expiry_key(old, key))

    def _owed_key(self, state: MessageState, key: bytes) -> bytes | None:
        """The key in its level's index; None: not owed. Raises StoreFailed for a due_at < 0."""
        if state.version == state.settled_version:
            return None
        return self.org_key(self._org_of(state.account_id)) + _KEY(state.due_at) + key


def level_of(state: MessageState) -> int:
    """Which index of owed rows it belongs to."""
    return FINAL if IS_FINAL[state.code] else INTERMEDIATE


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

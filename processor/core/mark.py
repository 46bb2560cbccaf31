"""What travels with a partition's statuses and offsets: whose they are, and how far they go.

The same text rides in a header of the last status record that a transaction writes to a
partition, beside the offset that it commits, and in the local store's checkpoint. Offsets alone
would not do: every ordinary tool that moves them writes them without it, they expire, and a new
group has none. Without the stream time an event whose message has expired would begin an empty
history, and take its Task back.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final, NamedTuple

from processor.errors import StopProcessing

HEADER: Final = "processor.mark"
"""The name of the status record's header."""

_VERSION: Final = 2
_OLD_PREFIX: Final = "v1 st="  # stream time alone, beside a committed offset


class Identity(NamedTuple):
    """Who writes. `org` "": not known yet. Topics by their ids: a topic that was deleted and made
    again under its name has another one. "": not known.
    """

    group: str
    org: str
    status_topic: str
    events_topic: str


class Mark(NamedTuple):
    """`offset`: the next event to be read when this was written; -1: not known. `stream_time` in
    milliseconds.
    """

    identity: Identity
    offset: int
    stream_time: int

    @property
    def owner(self) -> str:
        """Whose records these are, as `KAFKA__ADOPT_STATUSES_OF` takes it."""
        group, org, status_topic, _ = self.identity
        return f"{group}/{org or '-'}/{status_topic}"

    def text(self) -> str:
        """As it is written. `parse` reads it."""
        group, org, status_topic, events_topic = self.identity
        return json.dumps(
            {
                "v": _VERSION,
                "group": group,
                "org": org,
                "status": status_topic,
                "events": events_topic,
                "offset": self.offset,
                "st": self.stream_time,
            },
            separators=(",", ":"),
        )


def parse(text: str | None) -> Mark | None:
    """None where somebody else wrote the text, or there is none."""
    if not text:
        return None
    if text.startswith(_OLD_PREFIX):
        digits = text.removeprefix(_OLD_PREFIX)
        known = digits.isascii() and digits.isdigit()
        return Mark(Identity("", "", "", ""), -1, int(digits)) if known else None
    try:
        raw = json.loads(text)
        if raw["v"] < _VERSION:
            return None
        names = [raw[name] for name in ("group", "org", "status", "events")]
        offset, stream_time = raw["offset"], raw["st"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    if type(offset) is not int or type(stream_time) is not int or stream_time < 0:
        return None
    return Mark(Identity(*names), offset, stream_time)


class Start(NamedTuple):
    """Where to begin. `warning` "": as a matter of course."""

    offset: int
    stream_time: int
    warning: str


def where_to_start(offset: int, beside: Mark | None, kept: Mark | None, ours: Identity) -> Start:
    """Where a partition is read from.

    In: the group's committed offset (-1: none) and the mark beside it (None: somebody else
    committed it), and the mark of the last status record. The stream time is the greatest of what
    is known. Positions in a topic that was made again under its name mean nothing: begin anew.

    Raises StopProcessing where the offset goes with another status topic: what was owed, and the
    history of every message, lies there.
    """
    stream_time = max(beside.stream_time if beside else 0, kept.stream_time if kept else 0)
    if beside is not None and _differ(beside.identity.status_topic, ours.status_topic):
        raise StopProcessing(lost_statuses(ours.group, beside.identity.status_topic))
    if beside is not None and _differ(beside.identity.events_topic, ours.events_topic):
        warning = (
            f"the events topic was deleted and made again: offset {offset} was committed for the "
            f"topic with the id {beside.identity.events_topic}, and it now has the id "
            f"{ours.events_topic}; it is read from its beginning"
        )
        return Start(-1, stream_time, warning)
    last = kept.offset if kept and kept.identity.events_topic == ours.events_topic else -1
    if offset >= 0 and beside is None:
        known = f"our last status was written at offset {last}" if last >= 0 else "we know of none"
        warning = (
            f"offset {offset} was committed by another program under our group {ours.group} "
            f"({known}): events in between are skipped, or read again"
        )
        return Start(offset, stream_time, warning)
    if offset < 0 and last > 0:
        warning = (
            f"group {ours.group} has no committed offset, and our last status was written at "
            f"offset {last}: the partition is read from its beginning"
        )
        return Start(offset, stream_time, warning)
    return Start(offset, stream_time, "")


def lost_statuses(group: str, status_topic: str) -> str:
    """What to say where a group's offsets go with a status topic that is not the one we have."""
    return (
        f"the committed offsets of group {group} go with the status topic of the id {status_topic},"
        " which is not the one in KAFKA__STATUS_TOPIC: it was deleted, made again, or another is "
        "set. What is owed to Salesforce and the history of every message are in that topic: bring "
        "it back. Or begin anew with what the events topic still holds: stop every process, then "
        f"kafka-consumer-groups.sh --reset-offsets --to-earliest --group {group} --topic "
        "EVENTS_TOPIC --execute"
    )


def foreign(kept: Mark, ours: Identity) -> str:
    """Why the records of a status topic are not ours; "": they are, as far as is known."""
    theirs = kept.identity
    differences = [
        f"{what} {of_theirs} (ours: {of_ours})"
        for what, of_theirs, of_ours in (
            ("group", theirs.group, ours.group),
            ("org", theirs.org, ours.org),
            ("topic id", theirs.status_topic, ours.status_topic),
        )
        if _differ(of_theirs, of_ours)
    ]
    if not differences:
        return ""
    return (
        f"the status topic holds the statuses of another: {', '.join(differences)}. A status topic "
        "belongs to one consumer group and one org, because what one of them has written to "
        "Salesforce counts as written for the other: set another KAFKA__STATUS_TOPIC. If these "
        "are ours all the same (the group was renamed, the org was refreshed, the topic was "
        f'copied), set KAFKA__ADOPT_STATUSES_OF = ["{kept.owner}"]'
    )


def is_adopted(kept: Mark, adopted: Collection[str]) -> bool:
    """Whether the records' owner is among these. An org that is not known fits any."""
    group, org, status_topic, _ = kept.identity
    before, after = f"{group}/", f"/{status_topic}"
    return any(
        owner.startswith(before)
        and owner.endswith(after)
        and len(owner) > len(before) + len(after)
        and (not org or owner[len(before) : -len(after)] in ("-", org))
        for owner in adopted
    )


def _differ(one: str, other: str) -> bool:
    """Where both are known."""
    return bool(one and other) and one != other

"""Who we are in the consumer group, and what travels with a committed offset."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final, Protocol

from confluent_kafka import Consumer

_MAGIC: Final = b"CGMDv2:"  # librdkafka's serialized group metadata
_GENERATION: Final = struct.Struct("=i")
_PREFIX: Final = "v1 st="


class Group(Protocol):
    """What a transaction must know of the group. `KafkaSource` is one."""

    def assigned(self) -> Collection[int]: ...
    def is_stable(self, partition: int) -> bool: ...
    def member(self) -> bytes | None: ...


def fencing_metadata(consumer: Consumer) -> bytes | None:
    """The group metadata to send with a transaction; None while we are no member.

    A broker checks who sends offsets only where a member is named. Before the join, and after
    the group has thrown us out, the metadata names none: every transaction would be taken.
    """
    if not consumer.memberid():
        return None
    try:
        metadata = bytes(consumer.consumer_group_metadata())
    except RuntimeError:  # the client is leaving the group
        return None
    if metadata.startswith(_MAGIC):
        (generation,) = _GENERATION.unpack_from(metadata, len(_MAGIC))
        if generation < 1:  # both protocols count from 1
            return None
    return metadata


def offset_metadata(stream_time: int) -> str:
    """The text that is kept beside a committed offset."""
    return f"{_PREFIX}{stream_time}"


def stream_time(metadata: str | None) -> int:
    """The stream time (ms) out of that text; 0 where somebody else wrote the offset."""
    if metadata is None or not metadata.startswith(_PREFIX):
        return 0
    digits = metadata.removeprefix(_PREFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0

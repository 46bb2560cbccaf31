"""Who we are in the consumer group."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final, Protocol

from confluent_kafka import Consumer

_MAGIC: Final = b"CGMDv2:"  # librdkafka's serialized group metadata
_GENERATION: Final = struct.Struct("=i")


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

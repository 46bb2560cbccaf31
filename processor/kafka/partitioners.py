"""Where a producer's client puts a key: the hashes that are in use, and what they make of it.

Sources: Java's `org.apache.kafka.common.utils.Utils.murmur2` and `BuiltInPartitioner`; librdkafka's
`rdkafka_msg.c` and CONFIGURATION.md, property `partitioner`, which has all three. A test holds
each to librdkafka's own choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from zlib import crc32

_MASK: Final = 0xFFFF_FFFF
_POSITIVE: Final = 0x7FFF_FFFF


def murmur2(key: bytes) -> int:
    """Java's clients, and most others; librdkafka's with `murmur2_random`."""
    m, size = 0x5BD1_E995, len(key)
    h = 0x9747_B28C ^ size
    whole = size & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & _MASK
        h = (h * m & _MASK) ^ ((k ^ k >> 24) * m & _MASK)
    if whole < size:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & _MASK
    h = (h ^ h >> 13) * m & _MASK
    return (h ^ h >> 15) & _POSITIVE


def fnv1a(key: bytes) -> int:
    """Sarama (Go); librdkafka's with `fnv1a_random`. The absolute value of a signed hash."""
    h = 0x811C_9DC5
    for byte in key:
        h = (h ^ byte) * 0x0100_0193 & _MASK
    return h if h <= _POSITIVE else _MASK + 1 - h


HASHES: Final[dict[str, Callable[[bytes], int]]] = {
    "murmur2_random": murmur2,
    "consistent_random": crc32,  # librdkafka's default, hence of its wrappers in most languages
    "fnv1a_random": fnv1a,
}
"""By librdkafka's name for it. A key's partition is its hash modulo the number of partitions."""


def choosers(key: bytes, partition: int, partitions: int) -> frozenset[str]:
    """Which of the partitioners put this key into that one of so many partitions."""
    return frozenset(
        name for name, hashed in HASHES.items() if hashed(key) % partitions == partition
    )

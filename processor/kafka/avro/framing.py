"""How a record's value says which schema wrote it.

Confluent framing:       00, the schema's id in the registry (4 bytes, big-endian), the record.
Single-object encoding:  C3 01, the schema's CRC-64-AVRO fingerprint (8 bytes, little-endian),
                         the record (Avro specification, "Single-object encoding").
In a header:             the value is the bare record. Confluent's serializers write the schema's
                         GUID, Apicurio's an id of 8 bytes. A header goes before what stands in
                         the value, as in Confluent's own deserializer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from fastavro.schema import fingerprint, to_parsing_canonical_form

from processor.errors import Rejected

CONFLUENT_MAGIC: Final = b"\x00"
CONFLUENT_SIZE: Final = 5
SINGLE_OBJECT_MAGIC: Final = b"\xc3\x01"
SINGLE_OBJECT_SIZE: Final = 10
GUID_MAGIC: Final = b"\x01"
GUID_SIZE: Final = 17
CONFLUENT_HEADER: Final = "__value_schema_id"
APICURIO_HEADERS: Final = ("apicurio.value.contentId", "apicurio.value.globalId")
"""A registry that is asked by Confluent's API takes the first, or the second, for its schema ids,
as it is set up (Apicurio: the first, unless `apicurio.ccompat.legacy-id-mode.enabled`)."""

_APICURIO: Final = struct.Struct(">q")

SchemaId = int | str
"""How a registry knows a schema: a number, or a GUID."""


def prefix_of(value: bytes) -> bytes:
    """What stands before the record. Raises Rejected: `bad_magic` where it is neither framing,
    `undecodable` where the value ends inside it.
    """
    if value[:1] == CONFLUENT_MAGIC:
        size = CONFLUENT_SIZE
    elif value[:2] == SINGLE_OBJECT_MAGIC:
        size = SINGLE_OBJECT_SIZE
    else:
        raise Rejected("bad_magic", f"starts with {value[:2].hex()}")
    if len(value) < size:
        raise Rejected("undecodable", "ends inside its schema's id")
    return value[:size]


def header_id(headers: Sequence[tuple[str, bytes | None]]) -> tuple[bytes, SchemaId] | None:
    """The schema id in a record's headers: as it stands there, and what it means. None: there is
    none. Raises Rejected (`bad_magic`) for one that can't be read.
    """
    found = dict(reversed(headers))
    raw = found.get(CONFLUENT_HEADER)
    if raw is not None:
        if raw[:1] == GUID_MAGIC and len(raw) == GUID_SIZE:
            return raw, str(UUID(bytes=raw[1:]))
        if raw[:1] == CONFLUENT_MAGIC and len(raw) == CONFLUENT_SIZE:
            return raw, confluent_id(raw)
        raise Rejected("bad_magic", f"{CONFLUENT_HEADER} starts with {raw[:1].hex()}")
    for name in APICURIO_HEADERS:
        raw = found.get(name)
        if raw is not None:
            if len(raw) != _APICURIO.size:
                raise Rejected("bad_magic", f"{name} has {len(raw)} bytes")
            return raw, int(_APICURIO.unpack(raw)[0])
    return None


def confluent_prefix(schema_id: int) -> bytes:
    """What stands before a record that was written with a registered schema."""
    return CONFLUENT_MAGIC + struct.pack(">I", schema_id)


def confluent_id(prefix: bytes) -> int:
    """The schema id in a Confluent prefix (5 bytes)."""
    schema_id: int = struct.unpack(">I", prefix[1:])[0]
    return schema_id


def single_object_prefix(schema_text: str) -> bytes:
    """What stands before a record that was written with this schema, where there is no registry.

    The fingerprint is of the schema's parsing canonical form: docs, defaults and logical types
    don't count. (fastavro's hex digits are the little-endian bytes already.)
    """
    canonical = to_parsing_canonical_form(json.loads(schema_text))
    return SINGLE_OBJECT_MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))

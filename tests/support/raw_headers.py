"""Records with headers that the Python client can't write: their names are any bytes.

By librdkafka's own functions, out of the library that the client brings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import confluent_kafka

_PRODUCER: Final = 0
# rd_kafka_vtype_t
_END, _TOPIC, _VALUE, _KEY, _COPY, _HEADERS = (ctypes.c_int(n) for n in (0, 1, 4, 5, 7, 10))
_COPIED: Final = ctypes.c_int(2)
_FLUSH_MS: Final = 30_000


def produce_raw(
    bootstrap_servers: str,
    topic: str,
    key: bytes,
    value: bytes,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    """Returns when the broker has the record."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (path,) = folder.glob("librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    for maker in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, maker).restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(512)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    servers = bootstrap_servers.encode()
    assert library.rd_kafka_conf_set(config, b"bootstrap.servers", servers, why, 512) == 0
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, config, why, 512))
    assert producer, why.value
    given = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, content in headers:
        library.rd_kafka_header_add(
            given, name, ctypes.c_ssize_t(len(name)), content, ctypes.c_ssize_t(len(content))
        )
    failed = library.rd_kafka_producev(
        producer,
        _TOPIC, ctypes.c_char_p(topic.encode()),
        _KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key)),
        _VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value)),
        _COPY, _COPIED,
        _HEADERS, given,
        _END,
    )  # fmt: skip
    assert not failed
    assert library.rd_kafka_flush(producer, _FLUSH_MS) == 0
    library.rd_kafka_destroy(producer)

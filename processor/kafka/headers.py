"""A record's headers, whatever their names are made of.

To Kafka a header's name is bytes, to the Python client it is text. Where one is not UTF-8,
`Message.headers()` raises SystemError, hands out none of the record's headers, and leaves a hole in
what it would hand out the next time, which ends the process when it is touched
(confluent-kafka 2.16, `c_headers_to_py`).
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import Message

from processor.ports import RawRecord

UNREADABLE: Final = "processor.headers.unreadable"  # stands for all of them; why

Headers = list[tuple[str, bytes | None]]


def headers_of(record: RawRecord) -> Headers:
    """The record's headers. Where the client can't hand them out they are lost, and one header
    that says so takes their place, here and wherever the record is copied to.
    """
    try:
        return record.headers() or []
    except (SystemError, UnicodeError) as error:
        why = type(error.__cause__ or error.__context__ or error).__name__
        instead: Headers = [(UNREADABLE, f"a name is not UTF-8 ({why})".encode())]
        message: object = record
        if isinstance(message, Message):
            message.set_headers([*instead])  # else the next to ask would meet the hole
        return instead

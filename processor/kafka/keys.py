"""Are the events keyed by message id? If not, a message's reports lie in several partitions.

Every partition has its own owner and its own statuses, so each would make a status of the reports
that it sees. Looked at are the first few events of each batch: enough to notice, and no cost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

from processor.core.events import DeliveryEvent
from processor.core.report import DecodeStats
from processor.errors import Rejected
from processor.ports import Decoder, RawRecord

_log = logging.getLogger(__name__)

LOOKED_AT: Final = 20  # usable events of each call


class KeyWatch:
    """Implements `ports.Decoder` around another one. Counts, and warns once."""

    def __init__(self, decoder: Decoder, stats: DecodeStats) -> None:
        self._decoder = decoder
        self._stats = stats
        self._told = False

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejected]:
        events = self._decoder.decode(records)
        usable = (
            (record, event)
            for record, event in zip(records, events, strict=True)
            if not isinstance(event, Rejected)
        )
        for record, event in islice(usable, LOOKED_AT):
            if record.key() != event.message_id.encode():
                self._stats.keys_not_message_id += 1
                if not self._told:
                    self._told = True
                    self._tell(record)
        return events

    @staticmethod
    def _tell(record: RawRecord) -> None:
        _log.warning(
            "events are not keyed by message id topic=%s partition=%s offset=%s: the reports of a "
            "message may lie in several partitions, and its Task may end with the wrong status. "
            "Key them where they are produced, or copy them with `processor rekey`",
            record.topic(), record.partition(), record.offset(),
        )  # fmt: skip

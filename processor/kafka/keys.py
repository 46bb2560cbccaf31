"""Do all reports of a message lie in one partition? They do if each has the message's id for its
key, and all their producers choose a key's partition alike.

Every partition has its own owner and its own statuses, so each would make a status of the reports
that it sees. Looked at are the first few events of each batch: enough to notice, and no cost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Final

from processor.core.events import DeliveryEvent
from processor.core.report.fields import Oddities
from processor.errors import Rejection
from processor.kafka.partitioners import choosers
from processor.ports import Decoder, RawRecord

_log = logging.getLogger(__name__)

LOOKED_AT: Final = 20  # usable events of each call

_OTHER_KEY: Final = (
    "events are not keyed by message id: the reports of a message may lie in several partitions, "
    "and its Task may end with the wrong status. Key them where they are produced, or copy them "
    "with `processor rekey`"
)
_OTHER_PARTITION: Final = (
    "events are not in the partition of their key: their producers choose partitions differently, "
    "or the topic had fewer. The reports of a message may lie in several, and its Task may end "
    "with the wrong status. Set one partitioner for all producers, or copy the events with "
    "`processor rekey` (docs/partitions.md)"
)


class KeyWatch:
    """Implements `ports.Decoder` around another one. Counts, and warns once of each kind.

    `partitions`: how many the topic has. Which partitioner its producers use is learned: the one
    that explains most of what was seen. A record that it doesn't explain is counted.
    """

    def __init__(self, decoder: Decoder, stats: Oddities, partitions: int) -> None:
        self._decoder = decoder
        self._stats = stats
        self._partitions = partitions
        self._explained: Counter[str] = Counter()
        self._told: set[str] = set()

    def decode(self, records: Sequence[RawRecord]) -> list[DeliveryEvent | Rejection]:
        events = self._decoder.decode(records)
        usable = (
            (record, event.message_id)
            for record, event in zip(records, events, strict=True)
            if not isinstance(event, Rejection)
        )
        for record, message_id in islice(usable, LOOKED_AT):
            key = record.key()
            if key != message_id.encode():
                self._stats.keys_not_message_id += 1
                if self._is_news(_OTHER_KEY):
                    _log.warning(_OTHER_KEY, extra=_place(record))
            if key and not self._is_in_its_place(key, record.partition() or 0):
                self._stats.keys_elsewhere += 1
                if self._is_news(_OTHER_PARTITION):
                    _log.warning(_OTHER_PARTITION, extra=_place(record))
        return events

    def take_oddities(self) -> Oddities:
        return self._stats.take()

    def _is_in_its_place(self, key: bytes, partition: int) -> bool:
        fitting = choosers(key, partition, self._partitions)
        self._explained.update(fitting)
        most = max(self._explained.values(), default=0)
        return any(self._explained[name] == most for name in fitting)

    def _is_news(self, what: str) -> bool:
        if what in self._told:
            return False
        self._told.add(what)
        return True


def _place(record: RawRecord) -> dict[str, object]:
    return {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
    }

"""Whose status topic this is: one group's and one org's. Asked and told by the worker.

Two groups on one status topic (production and a test on one cluster, with the default names)
would settle each other's rows: what one org was given counts as written for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from processor.core.mark import Identity, Mark, foreign, is_adopted
from processor.errors import StopProcessing


class Claim:
    """`org` gives the org's id once it is known, from any thread. `adopted`: owners whose records
    are taken for ours (`Mark.owner`).
    """

    def __init__(
        self,
        group: str,
        status_topic: str,
        events_topic: str,
        org: Callable[[], str | None] = lambda: None,
        adopted: Collection[str] = (),
    ) -> None:
        self._ours = Identity(group, "", status_topic, events_topic)
        self._org = org
        self._adopted = frozenset(adopted)
        self._met: dict[int, Mark] = {}
        self._judged_as = ""

    @property
    def ours(self) -> Identity:
        return self._ours._replace(org=self._org() or "")

    def mark(self, partition: int, offset: int, stream_time: int) -> str:
        """What a transaction writes with the partition's last status and its offset."""
        ours = self.ours
        if not ours.org and partition in self._met:  # not to lose what the records have said
            ours = ours._replace(org=self._met[partition].identity.org)
        return Mark(ours, offset, stream_time).text()

    def meet(self, partition: int, kept: Mark | None) -> None:
        """The partition's last status record has this mark. Raises StopProcessing where it is
        another's.
        """
        if kept is None or is_adopted(kept, self._adopted):
            self._met.pop(partition, None)
            return
        self._met[partition] = kept
        self._judge(kept)

    def require(self) -> None:
        """The org's id may become known late. Raises StopProcessing when it is another's."""
        org = self._org() or ""
        if org != self._judged_as:
            for kept in self._met.values():
                self._judge(kept)
            self._judged_as = org

    def holds(self) -> bool:
        """Whether, as far as is known, all that was met is ours. From any thread."""
        ours = self.ours
        return not any(foreign(kept, ours) for kept in list(self._met.values()))

    def _judge(self, kept: Mark) -> None:
        if why := foreign(kept, self.ours):
            raise StopProcessing(why)

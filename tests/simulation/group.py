"""The group's coordinator: generations, and cooperative assignment.

A partition goes to its new owner only after the old one has given it up, or was thrown out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.simulation.weather import HEARTBEAT_S, SESSION_S
from tests.simulation.world import World


class Identity(NamedTuple):
    """What a transaction says of its sender: the member, and the generation it knows."""

    member: int
    generation: int


@dataclass(slots=True, eq=False)
class Member:
    """`held`: what it has been given, and has not given up. `to_take`, `to_give`: what its next
    poll is to tell it.
    """

    who: str
    number: int
    held: set[int] = field(default_factory=set)
    to_take: set[int] = field(default_factory=set)
    to_give: set[int] = field(default_factory=set)
    in_group: bool = True
    told: bool = False
    expelled_at: float = 0.0
    silent: int = 0


class Group:
    """One consumer group."""

    def __init__(self, world: World, partitions: int) -> None:
        self._world = world
        self._partitions = partitions
        self._members: dict[int, Member] = {}
        self._joined = 0
        self.generation = 0

    def join(self, who: str) -> Member:
        self._joined += 1
        member = Member(who, self._joined)
        self._members[member.number] = member
        self._rebalance()
        return member

    def leave(self, member: Member) -> None:
        if member.in_group:
            self._remove(member)

    def expel(self, member: Member) -> None:
        """It learns of it later."""
        if member.in_group:
            self._world.note("group", "expels", member.who, sorted(member.held))
            member.expelled_at = self._world.now
            self._remove(member)

    def silence(self, member: Member) -> None:
        """No heartbeats from now on; the last was a while ago."""
        member.silent += 1
        silent = member.silent
        last = self._world.now - self._world.rng.uniform(0, HEARTBEAT_S)
        self._world.at(last + SESSION_S, lambda: self._expire(member, silent))

    def revive(self, member: Member) -> None:
        """Heartbeats again."""
        member.silent += 1

    def gave(self, member: Member, partitions: set[int]) -> None:
        """Its callback has returned; the partitions are free."""
        if member.in_group:
            member.held -= partitions
            member.to_give -= partitions
            self._rebalance()

    def check(self, who: Identity) -> str:
        """Why the offsets of this sender are refused; "" if not. By member, not by partition."""
        if who.member not in self._members:
            return "UNKNOWN_MEMBER_ID"
        return "" if who.generation == self.generation else "ILLEGAL_GENERATION"

    def owner(self, partition: int) -> Member | None:
        """Whose the partition is, by the coordinator's account."""
        return next((m for m in self._members.values() if partition in m.held), None)

    def members(self) -> list[Member]:
        return list(self._members.values())

    def shuffle(self) -> None:
        """Partitions move for no reason."""
        self._rebalance(shuffled=True)

    def _remove(self, member: Member) -> None:
        del self._members[member.number]
        member.in_group = False
        member.held.clear()
        member.to_take.clear()
        member.to_give.clear()
        self._rebalance()

    def _expire(self, member: Member, silent: int) -> None:
        if member.in_group and member.silent == silent:
            self.expel(member)

    def _rebalance(self, *, shuffled: bool = False) -> None:
        self.generation += 1
        if not self._members:
            return
        for partition, target in self._targets(shuffled=shuffled).items():
            owner = self.owner(partition)
            if owner is None:
                target.held.add(partition)
                target.to_take.add(partition)
            elif owner is target:
                owner.to_give.discard(partition)
            else:
                owner.to_give.add(partition)

    def _targets(self, *, shuffled: bool) -> dict[int, Member]:
        """Even shares; a partition stays where it is as far as that goes."""
        rng = self._world.rng
        members = list(self._members.values())
        rng.shuffle(members)
        most = -(-self._partitions // len(members))
        load = dict.fromkeys(members, 0)
        targets: dict[int, Member] = {}
        for partition in range(self._partitions):
            owner = None if shuffled else self.owner(partition)
            if owner is not None and load[owner] < most:
                targets[partition] = owner
                load[owner] += 1
        for partition in range(self._partitions):
            if partition not in targets:
                least = min(members, key=lambda member: load[member])
                targets[partition] = least
                load[least] += 1
        return targets

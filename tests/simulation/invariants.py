"""What must hold during a run and after it (docs/design.md, I1 to I6), as seen from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from processor.core.events import DeliveryEvent, MessageState, Outcome
from processor.errors import Rejection
from processor.ports import DeadLetter, Owed
from tests.simulation.broker import Broker, SimRecord, Txn
from tests.simulation.machine import Machine
from tests.simulation.oracle import truth
from tests.simulation.org import Org, Request, Values, same_task
from tests.simulation.weather import LEASE_S
from tests.simulation.world import Violation, World


class Told(Protocol):
    """A source: which partitions its process has been told are its own."""

    told: set[int]


class Invariants:
    """Watches commits, submissions and requests; judges the end."""

    def __init__(self, world: World) -> None:
        self.broker: Broker
        self.org: Org
        self._world = world
        self._sources: dict[str, Told] = {}
        self._leaving: dict[str, set[int]] = {}
        self._seen: list[dict[str, MessageState]] = []
        self._checked: dict[int, int] = {}
        self._letters: Counter[tuple[int, int]] = Counter()
        self._read_again: Counter[tuple[int, int]] = Counter()
        self._too_late: set[tuple[int, int]] = set()
        self._refusals: Counter[tuple[str, int]] = Counter()
        self._last: dict[str, MessageState] = {}
        self._sent: dict[tuple[str, str], int] = {}
        self._proven: dict[tuple[str, int], float] = {}
        self._values: dict[tuple[str, int], dict[str, object]] = {}

    def watch(self, world: Broker, org: Org) -> None:
        self.broker, self.org = world, org
        self._seen = [{} for _ in world.statuses]

    def started(self, machine: Machine, source: Told) -> None:
        self._sources[machine.name] = source
        self._leaving[machine.name] = set()

    # -- a transaction is committed ----------------------------------------------------------

    def committed(self, txn: Txn) -> None:
        told = self._sources[txn.who].told
        for partition in {p for p, _, _ in txn.statuses} | txn.offsets.keys():
            if partition not in told:
                raise Violation("I6", f"{txn.who} commits for p{partition}, which it lost")
            if partition not in txn.fenced_for and not self._is_owner(txn.who, partition):
                raise Violation("I6", f"{txn.who} commits unfenced for p{partition}, which moved")
        for partition, message_id, state in txn.statuses:
            self._follows(partition, message_id, state)
        for letter in txn.letters:
            self._letter(letter)
        for partition, position in txn.offsets.items():
            self._accounted(partition, position.offset)
            self._proven[txn.who, partition] = self._world.now

    def set_back(self, partition: int, offset: int) -> None:
        """An operator has set the offset back: what lies behind it is read once more."""
        checked = self._checked.get(partition, 0)
        for record in self.broker.events[partition]:
            if offset <= record.place < checked:
                self._read_again[partition, record.place] += 1

    def _is_owner(self, who: str, partition: int) -> bool:
        owner = self.broker.group.owner(partition)
        return owner is not None and owner.who == who

    def _follows(self, partition: int, message_id: str, state: MessageState | None) -> None:
        seen = self._seen[partition]
        old = seen.pop(message_id, None)
        if state is None:
            if old is not None and old.owed:
                raise Violation("I2", f"{message_id} v{old.version} expired while it was owed")
            return
        seen[message_id] = self._last[message_id] = state
        if old is not None and (
            state.version < old.version
            or state.settled_version < old.settled_version
            or any(state.history.get(code, 0) < at for code, at in old.history.items())
        ):
            raise Violation("I1", f"{message_id}: a status takes back what the log has held")
        before = old.settled_version if old is not None else 0
        is_news = state.settled_version == state.version != before
        if is_news and state.settled_outcome is Outcome.WRITTEN:
            held = self.org.history.get(same_task(state.task_id or ""), [])
            if not any(values["code"] == state.settled_code for values in held):
                raise Violation("I2", f"{message_id} is settled, and its Task never held it")

    def _letter(self, letter: DeadLetter) -> None:
        if letter.state is not None:
            key = letter.state.message_id, letter.state.settled_version
            self._refusals[key] += 1
            if self._refusals[key] > 1:
                raise Violation("I2", f"{key} is refused twice")
            return
        assert isinstance(letter.record, SimRecord)
        place = letter.record.number, letter.record.place
        self._letters[place] += 1
        if letter.stage == "collapse" and not self._read_again[place]:
            self._too_late.add(place)
        if self._letters[place] > 1 + self._read_again[place]:
            raise Violation("I5", f"dead letter {place} is there twice")

    def _accounted(self, partition: int, offset: int) -> None:
        """I1, I5: every event below a committed offset is in the log, ignored, or a letter."""
        checked = self._checked.get(partition, 0)
        for record in self.broker.events[partition]:
            if checked <= record.place < offset:
                self._one(record)
        self._checked[partition] = max(checked, offset)

    def _one(self, record: SimRecord) -> None:
        place = record.number, record.place
        event = record.meaning
        if isinstance(event, Rejection):
            if not self._letters[place]:
                raise Violation("I5", f"poison {place} vanished")
        elif event.task_id is not None and place not in self._too_late:
            state = self._seen[record.number].get(event.message_id)
            if state is None or state.history.get(event.code, 0) < event.event_time:
                raise Violation(
                    "I1", f"{place} {event.message_id} {event.code} is committed and nowhere"
                )

    # -- rows and requests -------------------------------------------------------------------

    def submitted(self, machine: Machine, rows: Sequence[Owed], held: set[str]) -> None:
        for row in rows:
            self._may_write(machine, row, "submits")
            if row.message_id in held:
                raise Violation("I4", f"{machine.name} submits {row.message_id} twice")
            held.add(row.message_id)

    def sent(self, machine: Machine, request: Request, flying: Sequence[Request]) -> None:
        tasks = [same_task(row.task_id) for other in flying for row in other.rows]
        twice = [task for task, times in Counter(tasks).items() if times > 1]
        if twice:
            raise Violation("I4", f"{machine.name} has Task {twice} in flight twice")
        for row in request.rows:
            self._may_write(machine, row, "sends")
            if not request.verify:
                self._not_older(machine, row)

    def _may_write(self, machine: Machine, row: Owed, does: str) -> None:
        told = self._sources[machine.name].told
        story = f"{machine.name} {does} {row.message_id}v{row.version} of p{row.partition}"
        if row.partition not in told:
            raise Violation("I6", f"{story}, which is not its own")
        if row.partition in self._leaving[machine.name]:
            raise Violation("I6", f"{story}, which it is giving up")
        proven = self._proven.get((machine.name, row.partition), float("-inf"))
        if does == "sends" and self._world.now - proven > LEASE_S:
            raise Violation("I6", f"{story}, which was last proven its own at {proven:.3f}")
        if machine.fenced and does == "submits":
            raise Violation("I6", f"{story} after it was fenced")

    def _not_older(self, machine: Machine, row: Owed) -> None:
        legitimate = self._is_owner(machine.name, row.partition)
        for who in (machine.name, *(["owner"] if legitimate else [])):
            last = self._sent.get((who, row.message_id), 0)
            if row.version < last:
                raise Violation("I3", f"{who} sends {row.message_id}v{row.version} after v{last}")
            self._sent[who, row.message_id] = row.version
        version = row.message_id, row.version
        if self._values.setdefault(version, row.values) != row.values:
            raise Violation("I3", f"{version} has two meanings")

    def quiesced(self, machine: Machine, partitions: Collection[int]) -> None:
        self._leaving[machine.name].update(partitions)

    def dropped(self, machine: Machine, partitions: Collection[int]) -> None:
        self._leaving[machine.name].difference_update(partitions)
        for partition in partitions:
            self._proven.pop((machine.name, partition), None)

    def ended(self, why: str) -> None:
        """I5: what comes in is no reason for a process to end."""
        if not self._world.weather.dead_letter_fails:
            raise Violation("I5", f"a process ends by itself: {why}")

    # -- the end -----------------------------------------------------------------------------

    def unfinished(self) -> str:
        """What is still to come; "" when all is done."""
        broker = self.broker
        for partition, records in enumerate(broker.events):
            if records and self._checked.get(partition, 0) <= records[-1].place:
                return f"p{partition} is read to {self._checked.get(partition, 0)}"
        for seen in self._seen:
            for state in seen.values():
                if state.owed:
                    return f"{state.message_id} v{state.version} is owed"
        return "requests are still to land" if self.org.landing else ""

    def at_the_end(self) -> None:
        """I2: every Task holds what all of its message's reports come to."""
        reports: dict[str, list[DeliveryEvent]] = {}
        named: dict[str, set[str]] = {}
        for partition, records in enumerate(self.broker.events):
            for record in records:
                event, place = record.meaning, (partition, record.place)
                if isinstance(event, Rejection) or place in self._too_late or not event.task_id:
                    continue
                reports.setdefault(event.message_id, []).append(event)
                named.setdefault(same_task(event.task_id), set()).add(event.message_id)
        wanted: dict[str, dict[str, Values]] = {}
        for message_id, events in reports.items():
            true, last = truth(events), self._last[message_id]
            if (last.code, last.task_id) != (true.code, true.task_id):
                raise Violation("I1", f"{message_id} is {last.code} {last.task_id}, not {true}")
            values: Values = {"category": true.category, "code": true.code}
            wanted.setdefault(same_task(true.task_id), {})[message_id] = values
        for task, wishes in wanted.items():
            holds = self.org.tasks.get(task)
            excused = any(self._was_refused(message_id) for message_id in wishes)
            # Of several messages that name one Task, the last write stands.
            left_it = named[task] - wishes.keys()
            if not excused and not left_it and holds not in wishes.values():
                raise Violation("I2", f"Task {task} holds {holds}, not one of {wishes}")

    def _was_refused(self, message_id: str) -> bool:
        """There is a dead letter for the last version."""
        return self._refusals[message_id, self._last[message_id].version] > 0

"""One batch of rows -> one request (or two, around a new login) -> a verdict for each row.

Takes part in no locking: the writer calls it from its threads, with batches that share no Task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from processor.core.settle import Differs, Reject, Retry, Settled, Stop, Verdict
from processor.errors import ConfigError
from processor.ports import Clock
from processor.salesforce import verdicts
from processor.salesforce.client import Client
from processor.salesforce.collections import (
    Row,
    parts_of,
    read_parts,
    read_records,
    read_rows,
    retrieve_call,
    update_call,
)
from processor.salesforce.fields import Fields, encode, same
from processor.salesforce.meter import RequestMeter
from processor.salesforce.rows import Batch, Entry, Kind
from processor.salesforce.status_codes import BY_CODE, Class
from processor.salesforce.verdicts import Action, OrgUnavailable, Pause, RequestOutcome
from processor.salesforce.wire import Answer, Call, CallKind, NoAnswer

NOT_SENT_RETRY_S: Final = 1.0
MAX_LONE_REFUSALS: Final = 5
"""So many requests of one row each refused as a whole, and nothing accepted in between, are no
longer the fault of rows."""
MAX_FAILED_ALIKE: Final = 10
"""So many requests of which every row failed in the org's code, and nothing accepted in between,
are no longer the fault of one row: halves would fail too. (200 rows are halved eight times.)"""
MAX_CULPRITS: Final = 10_000
"""Rows known to fail alone. One that is forgotten is found out again, by one request."""

_SETTLED: Final = Settled()

SendPermit = Callable[[Batch], bool]
"""Whether the batch may be sent at this moment."""


@dataclass(slots=True)
class Done:
    """What a batch came to. Rows without a verdict are to be sent again in halves.

    `answered`: the org has dealt with a request, so it is there. `code`: the reason of a pause.
    `expired`: a part of the request was told so, with the login of this generation. `refused`:
    the org will not have us until an admin has acted.
    """

    verdicts: dict[Entry, Verdict] = field(default_factory=dict)
    answered: bool = False
    pause: Pause | None = None
    smaller: bool = False
    code: str = ""
    expired: int | None = None
    refused: str | None = None

    def note(self, pause: Pause | None, code: str, *, smaller: bool = False) -> None:
        """Keep the first reason for a pause; any of the rows may ask for smaller requests."""
        self.smaller = self.smaller or smaller
        if pause is not None and self.pause is None:
            self.pause = pause
            self.code = verdicts.advice(code) if pause is Pause.FAULT else code

    def refuse(self, why: str) -> None:
        """A login that only an admin can make work again."""
        self.pause, self.code, self.refused = Pause.FAULT, why, why


class Sender:
    """Sends batches to one org and judges the answers."""

    def __init__(
        self, client: Client, permit: SendPermit, meter: RequestMeter, clock: Clock, rng: Random
    ) -> None:
        self._client = client
        self._permit = permit
        self._meter = meter
        self._clock = clock
        self._rng = rng
        self._lone_refusals = 0
        self._failed_alike = 0
        self._culprits: dict[tuple[str, int], None] = {}

    def send(self, batch: Batch) -> Done:
        """Write or read back. Never raises for what the org or the network does."""
        done = Done()
        try:
            fields = self._client.fields()
            if batch.verify:
                self._read_back(batch, fields, done)
            else:
                self._write(batch, fields, done)
            if done.expired is not None:
                self._client.log_in(instead_of=done.expired)
        except OrgUnavailable as error:
            # Raised by logging in and by describe: what has no verdict by then was not sent, or
            # not taken.
            done.note(error.pause, str(error))
            _give_rest(done, batch.entries, _not_sent("LOGIN_UNAVAILABLE"))
        except ConfigError as error:
            done.refuse(str(error))
            _give_rest(done, batch.entries, Stop(str(error)))
        return done

    # -- writing -----------------------------------------------------------------------------

    def _write(self, batch: Batch, fields: Fields, done: Done) -> None:
        entries = batch.entries
        rows = _rows(entries, fields)
        parts = parts_of(rows, batch.rows_per_part)
        call = update_call(parts, self._client.api_version)
        reply = self._ask(batch, call)
        if reply is None:
            _give_all(done, entries, _not_sent(verdicts.NO_LEASE))
            return
        outcome = self._judge(reply)
        if isinstance(reply, NoAnswer) or outcome.action is not Action.READ:
            self._whole(outcome, entries, done)
            return
        if call.kind is CallKind.COLLECTIONS:
            self._read_results(reply, rows, entries, batch.kind, done)
            return
        answers = read_parts(reply, len(parts))
        if answers is None:
            self._whole(verdicts.unreadable(writes=True), entries, done)
            return
        start = 0
        for answer, part in zip(answers, parts, strict=True):
            members = entries[start : start + len(part)]
            start += len(part)
            outcome = self._judge(answer)
            if outcome.action is Action.READ:
                self._read_results(answer, part, members, batch.kind, done)
            elif outcome.action is Action.LOGIN:
                self._session_refused(answer.generation, outcome.code, done)
                _give_all(done, members, _not_sent(outcome.code))
            else:
                self._whole(outcome, members, done)

    def _read_results(
        self,
        answer: Answer,
        rows: Sequence[Row],
        entries: Sequence[Entry],
        kind: Kind,
        done: Done,
    ) -> None:
        """The answers for the single rows of a Collections request."""
        codes = read_rows(answer, rows)
        if codes is None:
            self._whole(verdicts.unreadable(writes=True), entries, done)
            return
        done.answered = True
        if None in codes:
            self._lone_refusals = self._failed_alike = 0
        if any(code is None or BY_CODE.get(code) is not Class.SESSION for code in codes):
            self._client.accepted(answer.generation)
        blamed = verdicts.blames_the_org(codes)
        if blamed is not None:
            self._client.forget_fields()
            done.note(Pause.FAULT, blamed)
            _give_all(done, entries, Stop(verdicts.advice(blamed)))
            return
        if verdicts.fails_alike(codes) and self._is_to_be_halved(entries):
            return
        # Rows that have failed before say nothing of the others.
        done.smaller = done.smaller or (kind is Kind.WRITE and verdicts.is_crowded(codes))
        for entry, code in zip(entries, codes, strict=True):
            if code is None:
                done.verdicts[entry] = _SETTLED
                continue
            row = verdicts.judge_row(code, self._rng, daily_spent=self._client.budget.daily_spent)
            done.note(row.pause, code)
            done.verdicts[entry] = row.verdict
            if row.login:
                self._session_refused(answer.generation, code, done)

    def _is_to_be_halved(self, entries: Sequence[Entry]) -> bool:
        """Whether one of the rows, of which all failed in the org's code, may be the cause. One
        that failed alone is; where all are such rows, halves would tell nothing new.
        """
        names = [(entry.owed.message_id, entry.owed.version) for entry in entries]
        if len(names) == 1:
            self._culprits[names[0]] = None
            if len(self._culprits) > MAX_CULPRITS:
                self._culprits.pop(next(iter(self._culprits)), None)
            return False
        self._failed_alike += 1
        is_known = all(name in self._culprits for name in names)
        return not is_known and self._failed_alike <= MAX_FAILED_ALIKE

    def _session_refused(self, generation: int, code: str, done: Done) -> None:
        """Log in anew when the request is over; if this was the first use of a new login, that
        would go on for ever.
        """
        if self._client.is_untried(generation):
            done.note(Pause.FAULT, code)
        else:
            done.expired = generation

    def _whole(self, outcome: RequestOutcome, entries: Sequence[Entry], done: Done) -> None:
        """The same for all rows of a request, or of a part of one."""
        done.note(outcome.pause, outcome.code, smaller=outcome.smaller)
        if outcome.action is Action.LOGIN:
            # Refused right after a new login, so logging in once more is no help.
            done.note(Pause.FAULT, outcome.code)
        elif outcome.pause is None:
            done.answered = True
        if outcome.action is not Action.SPLIT:
            for entry in entries:
                done.verdicts[entry] = verdicts.whole_verdict(outcome, self._rng)
            return
        self._client.forget_fields()
        if len(entries) > 1:
            return
        # A race between threads would miscount by one, which changes nothing.
        self._lone_refusals += 1
        if self._lone_refusals > MAX_LONE_REFUSALS:
            done.note(Pause.FAULT, outcome.code)
            _give_all(done, entries, Stop(verdicts.advice(outcome.code)))
        else:
            _give_all(done, entries, Reject(outcome.code))

    # -- reading back ------------------------------------------------------------------------

    def _read_back(self, batch: Batch, fields: Fields, done: Done) -> None:
        entries = batch.entries
        names = sorted({name for entry in entries for name in entry.owed.values})
        reply = self._ask(batch, retrieve_call([entry.task_id for entry in entries], names))
        if reply is None:
            _give_all(done, entries, _not_sent(verdicts.NO_LEASE))
            return
        outcome = self._judge(reply, writes=False)
        if outcome.action is Action.SPLIT:
            # It can't be read, so it is written again: that answers for each row.
            _give_all(done, entries, Differs())
            done.answered = True
            return
        if outcome.action is not Action.READ:
            self._whole(outcome, entries, done)
            return
        assert isinstance(reply, Answer)
        records = read_records(reply, len(entries))
        if records is None:
            self._whole(verdicts.unreadable(writes=False), entries, done)
            return
        self._client.accepted(reply.generation)
        done.answered = True
        for entry, record in zip(entries, records, strict=True):
            is_equal = record is not None and same(entry.owed.values, record, fields)
            done.verdicts[entry] = _SETTLED if is_equal else Differs()

    # -- asking ------------------------------------------------------------------------------

    def _ask(self, batch: Batch, call: Call) -> Answer | NoAnswer | None:
        """One request; where its session has ended, the same once more after a new login (a 401
        was not carried out). None: it may not be sent (now, or any more).
        """
        reply = self._send_once(batch, call)
        if not isinstance(reply, Answer) or self._judge(reply).action is not Action.LOGIN:
            return reply
        if self._client.is_untried(reply.generation):
            return reply
        self._client.log_in(instead_of=reply.generation)
        return self._send_once(batch, call)

    def _send_once(self, batch: Batch, call: Call) -> Answer | NoAnswer | None:
        if not self._permit(batch):
            return None
        began_s = self._clock.monotonic_s()
        reply = self._client.send(call)
        outcome = self._judge(reply, writes=call.writes)
        result = "ok" if outcome.action is Action.READ else outcome.action.name.lower()
        self._meter.request(call.kind.value, result, self._clock.monotonic_s() - began_s)
        return reply

    def _judge(self, reply: Answer | NoAnswer, *, writes: bool = True) -> RequestOutcome:
        return verdicts.judge(reply, writes=writes, daily_spent=self._client.budget.daily_spent)


def _rows(entries: Sequence[Entry], fields: Fields) -> list[Row]:
    """The rows as the fields take them. Values that are one object for many (the worker makes
    those of a code once) stay one.
    """
    encoded: dict[int, Mapping[str, object]] = {}
    rows: list[Row] = []
    for entry in entries:
        values = entry.owed.values
        taken = encoded.get(id(values))
        if taken is None:
            taken = encoded[id(values)] = encode(values, fields)
        rows.append(Row(entry.task_id, taken))
    return rows


def _give_all(done: Done, entries: Sequence[Entry], verdict: Verdict) -> None:
    done.verdicts.update(dict.fromkeys(entries, verdict))


def _give_rest(done: Done, entries: Sequence[Entry], verdict: Verdict) -> None:
    """What an answer has said of a row stands."""
    for entry in entries:
        done.verdicts.setdefault(entry, verdict)


def _not_sent(code: str) -> Retry:
    return Retry(NOT_SENT_RETRY_S, code, whole_org=True)

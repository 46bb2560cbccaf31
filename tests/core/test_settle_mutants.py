"""Rules that would be wrong, and the row of the table that tells each from the right one.

Of fifteen such, put in one at a time, nine survived 300 seeds of the simulation.
"""

from __future__ import annotations

from typing import Final

import pytest

from processor.core import settle
from tests.core.test_settle import failing
from tests.support.mutants import Mutant

RETRIED: Final = "if not whole_org and _is_too_old(sent, now, rules):"
PARKED: Final = "            if _is_too_old(sent, now, rules):"
LOCKED: Final = "due_at = _after(after_s, now) if whole_org else _later(after_s, now, tried_since)"
ABSENT: Final = "due_at = _later(after_s, now, tried_since)\n        case Stop"
OLD: Final = "now - sent.version_at > rules.give_up_after_ms"
HOLD: Final = "due_at = max(now, current.version_at + rules.hold_ms(current.code))"
UNKNOWN: Final = "            doubt_at = now"
AGAIN: Final = "due_at = max(now, sent.doubt_at + rules.unknown_after_ms)"
CONFIRMED: Final = "if verified or not sent.doubt_at:"
VERSION: Final = "Settlement(sent.message_id, sent.version, sent.code, now, Outcome.WRITTEN)"
REFUSED: Final = "Settlement(sent.message_id, sent.version, sent.code, now, Outcome.REJECTED, code)"
KEPT: Final = "if doubt_at is None:\n        doubt_at = current.doubt_at"
ROUNDED: Final = "-(-time_ms // grain_ms) * grain_ms"
WAIT: Final = "max(round(least_s * 1000), min(now - tried_since, LONGEST_RETRY_MS))"
URGENT: Final = "superseded or outcome is Outcome.REJECTED"
FLUSHED: Final = "urgent or rows >= most_rows or now - oldest_at >= interval_ms"

MUTANTS: Final = [
    # -- given up
    Mutant("every lock is a dead letter", RETRIED, "if not whole_org:", "locked"),
    Mutant("a lock is never given up", RETRIED, "if False:", "locked, too old"),
    Mutant(
        "an outage of a day makes dead letters of all that is owed",
        RETRIED, "if _is_too_old(sent, now, rules):", "org paused, too old",
    ),
    Mutant(
        "only rows of a paused org are given up",
        RETRIED, "if whole_org and _is_too_old(sent, now, rules):", "locked, too old",
    ),
    Mutant("every missing Task is a dead letter", PARKED, "            if True:", "parked"),
    Mutant("a missing Task is never given up", PARKED, "            if False:",
           "parked, too old"),
    Mutant("given up a moment too early", OLD, OLD.replace(">", ">="),
           "locked, just as old as can be"),
    Mutant("patience counts from the event", OLD, OLD.replace("version_at", "event_time"),
           "locked"),
    Mutant("patience is the retention", OLD, OLD.replace("give_up_after", "retention"),
           "locked, too old"),
    Mutant(
        "given up because an admin is slow",
        "due_at = now + STOP_RETRY_MS",
        "if _is_too_old(sent, now, rules):\n"
        "                return _refused(sent, '', now)\n"
        "            due_at = now + STOP_RETRY_MS",
        "stopped, too old",
    ),
    # -- due again
    Mutant("stopped is retried at once", "due_at = now + STOP_RETRY_MS", "due_at = now", "stopped"),
    Mutant("stopped waits an hour", "STOP_RETRY_MS: Final = 60_000",
           "STOP_RETRY_MS: Final = 3_600_000", "stopped"),
    Mutant("a lock ignores its wait", LOCKED, "due_at = now", "locked"),
    Mutant("a paused org is backed off from like a row", LOCKED,
           "due_at = _later(after_s, now, tried_since)", "org paused for long"),
    Mutant("a locked row is not backed off from", LOCKED, "due_at = _after(after_s, now)",
           "locked again"),
    Mutant("a missing Task ignores its wait", ABSENT,
           ABSENT.replace("_later(after_s, now, tried_since)", "now"), "parked"),
    Mutant("a missing Task is not backed off from", ABSENT,
           ABSENT.replace("_later(after_s, now, tried_since)", "_after(after_s, now)"),
           "parked again"),
    Mutant("retry and park ignore their wait", WAIT, "0", "locked"),
    Mutant("a wait is taken for milliseconds", WAIT, WAIT.replace(" * 1000", ""), "parked"),
    Mutant("a row waits no longer than its verdict says", WAIT, "round(least_s * 1000)",
           "locked again"),
    Mutant("a verdict's own wait is cut short", WAIT, WAIT.replace("max", "min"), "locked"),
    Mutant("the longer it was tried, the less it waits for its verdict", WAIT,
           "round(least_s * 1000) + min(now - tried_since, LONGEST_RETRY_MS)",
           "locked again, and so late that it may wait"),
    Mutant("a row waits for as long as it likes", WAIT,
           "max(round(least_s * 1000), now - tried_since)", "locked for hours"),
    Mutant("rows share no request", "4 * grain <= wait_ms", "False", "locked again"),
    Mutant("rows wait for others far too long", "4 * grain <= wait_ms", "True", "locked"),
    Mutant("a wait is rounded down", ROUNDED, "time_ms // grain_ms * grain_ms",
           "locked, a wait that ends between seconds"),
    Mutant("a wait is not rounded", ROUNDED, "time_ms",
           "parked, a wait that ends between seconds"),
    Mutant("a wait that ends on a second gets one more", ROUNDED,
           "(time_ms // grain_ms + 1) * grain_ms", "locked"),
    Mutant("written in doubt is due at once", AGAIN, "due_at = now", "confirmed, in doubt"),
    Mutant("written in doubt waits from now", AGAIN, "due_at = now + rules.unknown_after_ms",
           "confirmed, in doubt"),
    Mutant("written in doubt is due in the past", AGAIN,
           "due_at = sent.doubt_at + rules.unknown_after_ms", "confirmed, in doubt for long"),
    # -- a newer version
    Mutant("a newer version ignores its hold", HOLD, "due_at = now", "locked, newer"),
    Mutant("a newer version waits as the older would", HOLD, "pass", "locked, newer"),
    Mutant("a newer version waits for both", HOLD, HOLD.replace("now,", "due_at,"),
           "locked, newer"),
    Mutant("a newer version's hold begins now", HOLD, HOLD.replace("current.version_at", "now"),
           "locked, newer"),
    Mutant("a newer version is due in the past", HOLD,
           "due_at = current.version_at + rules.hold_ms(current.code)",
           "locked, newer whose hold is over"),
    Mutant("every row is held as if it were new", "if current.version != deferral.version:",
           "if True:", "locked"),
    Mutant("a newer version loses its doubt", KEPT,
           "if current.version != deferral.version:\n        doubt_at = 0\n    elif " + KEPT[3:],
           "locked, in doubt, newer"),
    # -- doubt
    Mutant("no answer is no doubt", UNKNOWN, "            pass", "no answer"),
    Mutant("no answer does not renew an older doubt", UNKNOWN,
           "            doubt_at = sent.doubt_at or now", "no answer, in doubt"),
    Mutant("what differs stays in doubt", "doubt_at = 0", "pass", "differs"),
    Mutant("a doubt is forgotten", KEPT, "doubt_at = doubt_at or 0", "locked, in doubt"),
    Mutant("a doubt begins with any verdict", KEPT, KEPT + " or now", "locked"),
    # -- settled
    Mutant("settled although in doubt", CONFIRMED, "if True:", "confirmed, in doubt"),
    Mutant("settled only when read back", CONFIRMED, "if verified:", "confirmed"),
    Mutant("settled only when never in doubt", CONFIRMED, "if not sent.doubt_at:",
           "read back and found right"),
    Mutant("settled when a doubt is old", CONFIRMED,
           "if verified or now >= sent.doubt_at + rules.unknown_after_ms:",
           "confirmed, in doubt for long"),
    Mutant("settled is the version before", VERSION,
           VERSION.replace("sent.", "sent.settled_").replace("settled_m", "m"), "confirmed"),
    Mutant("a confirmation has a newer version's number", VERSION,
           VERSION.replace("sent.version", "sent.version + 1"), "confirmed, newer"),
    Mutant("settled when it was due", VERSION, VERSION.replace("now", "sent.version_at"),
           "confirmed"),
    Mutant("a refusal counts as written", REFUSED, REFUSED.replace("REJECTED", "WRITTEN"),
           "refused"),
    Mutant("a refusal has no reason", REFUSED, REFUSED.replace(", code)", ")"), "refused"),
    # -- published
    Mutant("a refused row is not published at once", URGENT, "superseded",
           "refused, and nothing newer"),
    Mutant("a superseding row is not published at once", URGENT, "outcome is Outcome.REJECTED",
           "written, and a newer one waits"),
    Mutant("every row is published at once", URGENT, "True", "written, and nothing newer"),
    Mutant("urgent is not at once", FLUSHED, FLUSHED.partition("or ")[2], "one that is urgent"),
    Mutant("never published by row count", FLUSHED, FLUSHED.replace("rows >= most_rows or ", ""),
           "as many as may wait"),
    Mutant("one more than may wait", FLUSHED, FLUSHED.replace("rows >=", "rows >"),
           "as many as may wait"),
    Mutant("never published by time", FLUSHED, FLUSHED.partition(" or now")[0],
           "one whose time has come"),
    Mutant("published a moment late", FLUSHED, FLUSHED.replace("at >=", "at >"),
           "one whose time has come"),
    Mutant("published though nothing waits", "rows > 0 and ", "", "nothing waits any more"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_by_its_row(wrong: Mutant) -> None:
    assert wrong.row in list(failing(wrong.of(settle)))


def test_the_right_rule_is_caught_by_no_row() -> None:
    assert list(failing(Mutant("none", OLD, OLD, "").of(settle))) == []

"""What each topic must be, as rules over what was found. They ask nobody."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from processor.kafka.avro.status_writer import MAX_STATUS_BYTES
from processor.kafka.dead_letters import DEFAULT_MAX_BYTES

STATUS_BYTES: Final = 2 * MAX_STATUS_BYTES  # with its key, its mark and the batch around it
HEADROOM_BYTES: Final = 65_536  # for a dead letter's headers, beyond the largest event


class Finding(NamedTuple):
    """One line for an operator. `fatal`: the processor refuses to start."""

    ok: bool
    text: str
    fatal: bool = False


class Found(NamedTuple):
    """A topic as it is. `config` None: we may not read it. `denied`: of Read and Write, what we may
    not do.
    """

    name: str
    identity: str
    partitions: int
    config: Mapping[str, str] | None
    denied: Collection[str] = ()

    def value(self, name: str, default: int) -> int:
        return int((self.config or {}).get(name, default))

    @property
    def max_bytes(self) -> int:
        """The largest batch that it takes; Kafka's default where we may not read it."""
        return self.value("max.message.bytes", DEFAULT_MAX_BYTES)


def dead_letter_config(events: Found, retention_ms: int) -> dict[str, str]:
    """A dead letter is an event with headers: its topic must hold the largest. How long it is kept
    counts from when it was written, by the broker's clock.
    """
    largest = events.max_bytes + HEADROOM_BYTES
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "max.message.bytes": str(largest),
        "message.timestamp.type": "LogAppendTime",
    }


def judge(
    events: Found,
    status: Found | None,
    dead_letter: Found | None,
    dead_letter_retention_ms: int,
) -> list[Finding]:
    """Every topic against what it must be."""
    return [
        _judge_events(events),
        *_judge_status(events, status),
        *_judge_dead(events, dead_letter, dead_letter_retention_ms),
        *_judge_rights(events, "Read"),
        *_judge_rights(status, "Read", "Write"),
        *_judge_rights(dead_letter, "Write"),
    ]


def _judge_rights(topic: Found | None, *needed: str) -> list[Finding]:
    """Not to find out when the state is to be restored, or on the first dead letter."""
    if topic is None:
        return []
    missing = [right for right in needed if right in topic.denied]
    return [
        Finding(ok=False, text=f"{topic.name}: we may not {m.lower()} it; allow {m}", fatal=True)
        for m in missing
    ]


def _judge_events(events: Found) -> Finding:
    if "compact" in (events.config or {}).get("cleanup.policy", "delete"):
        return Finding(
            ok=False,
            text=f"{events.name}: it is compacted, so reports may vanish before they are read; "
            "set cleanup.policy=delete",
        )
    return Finding(ok=True, text=f"{events.name}: {events.partitions} partitions")


def _judge_status(events: Found, status: Found | None) -> list[Finding]:
    if status is None:
        return [Finding(ok=True, text="the status topic is missing, and made at the start")]
    findings = []
    if status.partitions != events.partitions:
        findings.append(Finding(ok=False, text=_unequal(events, status), fatal=True))
    if status.config is None:
        findings.append(
            Finding(
                ok=False,
                text=f"{status.name}: we may not read its settings; allow DescribeConfigs",
                fatal=True,
            )
        )
    elif (policy := status.config.get("cleanup.policy")) != "compact":
        findings.append(
            Finding(
                ok=False,
                text=f"{status.name} has cleanup.policy={policy}: statuses that are still owed "
                "could vanish; set cleanup.policy=compact",
                fatal=True,
            )
        )
    if status.max_bytes < STATUS_BYTES:
        findings.append(
            Finding(
                ok=False,
                text=f"{status.name} takes records of {status.max_bytes} bytes, and a status may "
                f"have {STATUS_BYTES}; one that is refused stops the process. Set "
                f"max.message.bytes={DEFAULT_MAX_BYTES}",
            )
        )
    return findings or [Finding(ok=True, text=f"{status.name}: compacted, as many partitions")]


def _unequal(events: Found, status: Found) -> str:
    """What to do, in order. A topic can get more partitions, never fewer."""
    unequal = (
        f"{status.name} has {status.partitions} partitions and {events.name} has "
        f"{events.partitions}: they must be equal, because a message's status lies in the "
        "partition of its events. "
    )
    if status.partitions > events.partitions:
        return unequal + (
            f"A topic can't get fewer: stop the producers, drain (processor run --once, with the "
            f"topics as they were), then give {events.name} {status.partitions} partitions too; "
            "or set another KAFKA__STATUS_TOPIC and KAFKA__GROUP_ID"
        )
    return unequal + (
        "Nothing is lost: the events wait in their topic, and what is owed to Salesforce in the "
        "status topic. (1) Stop every process. (2) kafka-topics.sh --bootstrap-server ... --alter "
        f"--topic {status.name} --partitions {events.partitions} (3) Start. The price: a message "
        "with reports from before and after the change has two histories, and its Task may end "
        "with the lesser status. To keep every message whole, instead of (2) copy all events with "
        "`processor rekey` to a topic with the wanted partitions, and run on that with a new "
        "KAFKA__STATUS_TOPIC and KAFKA__GROUP_ID. See docs/partitions.md"
    )


def _judge_dead(events: Found, dead_letter: Found | None, retention_ms: int) -> list[Finding]:
    if dead_letter is None:
        return [Finding(ok=True, text="the dead-letter topic is missing, and made at the start")]
    advice = _judge_keeping(dead_letter, retention_ms)
    if hidden := [topic.name for topic in (events, dead_letter) if topic.config is None]:
        advice.append(
            f"{' and '.join(hidden)}: we may not read the settings, so dead letters are cut "
            f"at {DEFAULT_MAX_BYTES} bytes at the latest; allow DescribeConfigs"
        )
        return [Finding(ok=False, text=text) for text in advice]
    wanted = events.max_bytes
    limit = dead_letter.max_bytes
    if limit <= wanted:
        advice.append(
            f"{dead_letter.name} takes records of {limit} bytes, {events.name} of {wanted}: "
            f"large dead letters will be cut; set max.message.bytes={wanted + HEADROOM_BYTES}"
        )
    if advice:
        return [Finding(ok=False, text=text) for text in advice]
    return [Finding(ok=True, text=f"{dead_letter.name}: takes records of {limit} bytes")]


def _judge_keeping(dead_letter: Found, retention_ms: int) -> list[str]:
    """How long the topic keeps dead letters, against how long it is to keep them."""
    if dead_letter.config is None:
        return []
    policy = dead_letter.config.get("cleanup.policy", "delete")
    if "compact" in policy:
        text = (
            f"{dead_letter.name} has cleanup.policy={policy}: it keeps one dead letter of each "
            "key, and takes none without a key, which stops the process; set cleanup.policy=delete"
        )
        return [text]
    keeps_ms = dead_letter.value("retention.ms", retention_ms)
    if 0 <= keeps_ms < retention_ms:
        text = (
            f"{dead_letter.name} keeps dead letters for {keeps_ms / 1000:g} s, and "
            f"KAFKA__DEAD_LETTER_RETENTION_S is {retention_ms / 1000:g}: set "
            f"retention.ms={retention_ms}, or lower that setting"
        )
        return [text]
    return []

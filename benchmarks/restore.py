"""Messages per second from the status topic into the local store, as at an assignment.

    python -m benchmarks.restore [--messages 1000000] [--partitions 1] [--tail 20000] [--runs 1]

The statuses are written with the outbox's own codec, shuffled, and some of them several times,
as in a log that is not yet compacted. Then the worker's own restoration reads them back from a real
Apache Kafka into an empty store, in a process of its own; and once more after a tail was added,
from that store's checkpoint. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from processor.core.events import MessageState, Outcome
from processor.core.mark import HEADER, Identity, Mark
from processor.errors import ConfigError
from processor.kafka.avro.framing import single_object_prefix
from processor.kafka.avro.schemas import schema_text
from processor.kafka.avro.status_codec import StatusCodec
from processor.sandbox.servers.kafka import KafkaServer

TRANSACTION_RECORDS: Final = 1_000  # the last of which has a mark
REPEATED: Final = 0.2  # messages with an earlier record that compaction has not removed yet
OWED: Final = 0.02
EXPIRED: Final = 0.01
START_MS: Final = 1_700_000_000_000
SPAN_MS: Final = 7 * 86_400_000
LIVES: Final = ((101, 200, 211, 220), (101, 200, 220), (101, 200, 402), (101, 102, 200, 221))
UNHURRIED: Final = {"linger.ms": 50, "compression.type": "lz4", "batch.num.messages": 50_000}


def main() -> int:
    """Fill a status topic, restore it, add a tail, restore that; print what it took."""
    options = _arguments()
    try:
        server = KafkaServer(heap="1g")
    except ConfigError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    with server:
        results = []
        for run in range(options.runs):
            print(f"run {run + 1} ...", file=sys.stderr)
            results.append(_run(server.bootstrap_servers, options))
    report: dict[str, Any] = {"messages": options.messages, "partitions": options.partitions}
    for rate in ("records_per_s", "messages_per_s"):
        of_runs = [result["full"][rate] for result in results]
        report |= {rate: round(statistics.median(of_runs)), f"{rate}_of_runs": of_runs}
    report |= results[-1]
    print(json.dumps(report, indent=2))
    return 0


def _run(servers: str, options: argparse.Namespace) -> dict[str, Any]:
    topic = f"bench.statuses-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers})
    config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1.0"}
    new = NewTopic(topic, options.partitions, 1, config=config)
    admin.create_topics([new])[topic].result(30)
    dice = random.Random(options.seed)
    state = Path(tempfile.mkdtemp(prefix="bench-restore-"))
    try:
        fed = fill(servers, topic, options.partitions, options.messages, dice)
        full = _restore(servers, topic, options.partitions, state)
        full = {"messages_per_s": round(full["stored"] / full["seconds"]), **full}
        tail_fed = fill(servers, topic, options.partitions, options.tail, dice)
        tail = _restore(servers, topic, options.partitions, state)
    finally:
        shutil.rmtree(state, ignore_errors=True)
        admin.delete_topics([topic])[topic].result(30)
    return {"fed": fed, "full": full, "tail_fed": tail_fed, "from_checkpoint": tail}


def fill(servers: str, topic: str, partitions: int, messages: int, dice: random.Random) -> int:
    """Write statuses of so many messages; how many records that were."""
    text = schema_text("delivery_status.avsc")
    codec = StatusCodec(text, single_object_prefix(text))
    producer = Producer({"bootstrap.servers": servers, **UNHURRIED})
    mark = Mark(Identity("bench-restore", "", "", ""), 0, START_MS).text()
    records = 0
    for state in _statuses(messages, dice):
        value = None if state.version_at < 0 else codec.encode(state)
        partition = hash(state.message_id) % partitions
        ends_transaction = records % TRANSACTION_RECORDS == 0
        headers: list[tuple[str, str | bytes | None]] = [(HEADER, mark)] if ends_transaction else []
        while True:
            try:
                producer.produce(topic, value, state.message_id, partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        records += 1
    producer.flush()
    return records


def _statuses(messages: int, dice: random.Random) -> Iterator[MessageState]:
    """Each message's last status, and before it now and then an earlier one. Ids are random, so
    that they come in no order. (A time below zero: a tombstone.)
    """
    for number in range(messages):
        message_id = str(uuid.UUID(int=dice.getrandbits(128)))
        at = START_MS + number * SPAN_MS // messages
        history = {code: at + 700 * step for step, code in enumerate(dice.choice(LIVES))}
        codes = list(history)
        task = f"00T5g{number:010d}EAF"
        if dice.random() < REPEATED:
            early = dict(list(history.items())[:1])
            yield MessageState(message_id, early, codes[0], task, at, "account", at, 1, at)
        if dice.random() < EXPIRED:
            yield MessageState(message_id, history, codes[-1], task, at, None, at, 1, -1)
            continue
        settled = () if dice.random() < OWED else (2, codes[-1], at + 9_000, Outcome.WRITTEN)
        yield MessageState(
            message_id, history, codes[-1], task, at, "account", at, 2, at + 2_100, *settled
        )


def _restore(servers: str, topic: str, partitions: int, state: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.restoring", servers, topic]
    command += [str(partitions), str(state)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=1, help="that hold them")
    parser.add_argument("--tail", type=int, default=20_000, help="messages after the checkpoint")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

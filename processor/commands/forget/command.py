"""`processor forget MESSAGE_ID`: erase one message from the status topic and the local stores."""

from __future__ import annotations

from processor.commands.compose import consumer, names, topics
from processor.commands.forget.erasure import Forgetting, require_rest
from processor.commands.loading import load
from processor.core.report.fields import check_message_id
from processor.errors import ConfigError, Rejected
from processor.kafka.outbox import KafkaOutbox, MaxBytes
from processor.kafka.restore import KeysOnly
from processor.kafka.topics.watch import Expected
from processor.runtime.logs import set_up_logging
from processor.worker.claim import Claim


def forget(config: str | None, message_id: str) -> int:
    """0; 1 when nothing is known of the message."""
    settings = load(config)
    set_up_logging("WARNING", settings.log.format)
    try:
        check_message_id(message_id)
    except Rejected as rejected:
        raise ConfigError(f"MESSAGE_ID: {rejected}") from None
    kafka = settings.kafka
    kafka_topics = topics(settings)
    status, events = kafka_topics.find(kafka.status_topic), kafka_topics.find(kafka.events_topic)
    partitions = status.partitions
    if events.partitions != partitions:
        raise ConfigError("the topics' partitions are not equal: see processor check")
    require_rest(kafka.bootstrap_servers, kafka.options, kafka.group_id)
    source = consumer(kafka, kafka.group_id, kafka.events_topic, Expected(partitions))
    outbox = KafkaOutbox(
        kafka.bootstrap_servers,
        source,
        KeysOnly(),
        names(kafka),
        options=kafka.options,
        transactional_id=kafka.transactional_id,
        max_bytes=MaxBytes(status.max_bytes),
    )
    claim = Claim(kafka.group_id, status.identity, events.identity, adopted=kafka.adopt_statuses_of)
    forgetting = Forgetting(source, outbox, claim)
    try:
        forgetting.join(partitions)
        found = forgetting.forget(message_id, partitions)
    finally:
        forgetting.close()
    if not found:
        print("nothing is known of this message")
        return 1
    print(f"forgotten, in partition {', '.join(map(str, found))} of {kafka.status_topic}")
    return 0

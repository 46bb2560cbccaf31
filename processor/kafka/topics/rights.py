"""What we may do beside the topics: with the group, and with the transactional id.

`run` finds out when it joins, or begins its first transaction; `check` asks before.
"""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation

from processor.errors import ConfigError, Unavailable
from processor.kafka.client.options import Options, built, checked, connection
from processor.kafka.client.producer import TransactionalProducer
from processor.kafka.outbox import drawn_id
from processor.kafka.topics.rules import Finding

REQUEST_TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 5  # a group that nobody has asked for may have no coordinator for a moment
PAUSE_S: Final = 0.5


def judge_rights(
    bootstrap_servers: str, options: Options, group_id: str, transactional_id: str | None
) -> list[Finding]:
    """Without disturbing a process that runs. Raises Unavailable when no broker answers."""
    admin = built(AdminClient, connection(bootstrap_servers, checked(options, None)))
    group, members = _group(admin, group_id)
    if transactional_id is not None and members:
        text = (
            f"transactional id {transactional_id}: not tried, because the group has a process that "
            "runs, and to try would throw it out"
        )
        return [group, Finding(ok=True, text=text)]
    name = transactional_id or drawn_id()
    producer = TransactionalProducer(bootstrap_servers, options, name)
    try:
        producer.open()
    except ConfigError as failure:
        text = f"transactional id {name}: we may not use it ({failure}); allow Write"
        return [group, Finding(ok=False, text=text, fatal=True)]
    finally:
        producer.discard()
    return [group, Finding(ok=True, text=f"transactional id {name}: we may use it")]


def _group(admin: AdminClient, group_id: str) -> tuple[Finding, int]:
    """And how many members it has."""
    found, why = None, ""
    for _ in range(ATTEMPTS):
        (answer,) = admin.describe_consumer_groups(
            [group_id], include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_S
        ).values()
        try:
            found = answer.result(REQUEST_TIMEOUT_S * 2)
            break
        except FutureTimeoutError:
            raise Unavailable(f"group {group_id} is not described: no answer") from None
        except KafkaException as failure:
            name, why = failure.args[0].name(), str(failure)
        if name == "GROUP_AUTHORIZATION_FAILED":
            return _refused(group_id), 0
        if name == "GROUP_ID_NOT_FOUND":
            return Finding(ok=True, text=f"group {group_id}: there from the first start on"), 0
        time.sleep(PAUSE_S)  # the group's coordinator is yet to be found, or to load
    if found is None:
        raise Unavailable(f"group {group_id} is not described: {why}")
    members = len(found.members)
    allowed = found.authorized_operations  # None: the broker does not tell
    if allowed is not None and AclOperation.READ not in allowed:
        return _refused(group_id), members
    return Finding(ok=True, text=f"group {group_id}: we may read as its member"), members


def _refused(group_id: str) -> Finding:
    text = f"group {group_id}: we may not read as its member; allow Read"
    return Finding(ok=False, text=text, fatal=True)

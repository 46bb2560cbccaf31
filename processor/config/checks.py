"""What must hold between settings. A check gives lines: `SETTING: what is wrong; what to do`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Final

from processor.config.settings import Settings
from processor.core.attributes import ATTRIBUTES

MIN_SESSION_TIMEOUT_S: Final = 20.0  # twice the transaction timeout
DEFAULT_MAX_POLL_INTERVAL_S: Final = 300.0
_GENERIC_DOMAINS: Final = frozenset({"login", "test"})
_FIELD_NAME: Final = re.compile(r"[A-Za-z]\w*")


def missing(settings: Settings, needs: Iterable[str]) -> list[str]:
    """What a command can't do without: of kafka, registry, salesforce."""
    wanted = set(needs)
    problems = []
    if "kafka" in wanted and not settings.kafka.bootstrap_servers:
        problems.append("KAFKA__BOOTSTRAP_SERVERS: is missing; write host:port,host:port")
    if "registry" in wanted and settings.schema_registry.url is None:
        problems.append("SCHEMA_REGISTRY__URL: is missing; write http://host:port")
    if "salesforce" in wanted:
        problems += _missing_login(settings)
    return problems


def _missing_login(settings: Settings) -> list[str]:
    org = settings.salesforce
    problems = []
    if org.domain is None and org.endpoint_url is None:
        problems.append(
            "SALESFORCE__DOMAIN: is missing; write the org's My Domain (acme.my), "
            "or set SALESFORCE__ENDPOINT_URL"
        )
    if org.consumer_key is None:
        problems.append("SALESFORCE__CONSUMER_KEY: is missing; write the connected app's")
    if org.consumer_secret is None and org.username is None and org.private_key_file is None:
        problems.append(
            "SALESFORCE__CONSUMER_SECRET: is missing; write it (client credentials), or set "
            "SALESFORCE__USERNAME and SALESFORCE__PRIVATE_KEY_FILE (JWT bearer)"
        )
    return problems


def cross_check(settings: Settings) -> list[str]:
    """Every contradiction."""
    return [
        *_kafka(settings),
        *_events(settings),
        *_login(settings),
        *_fields(settings),
        *_times(settings),
    ]


def _kafka(settings: Settings) -> list[str]:
    kafka = settings.kafka
    problems = []
    topics = [kafka.events_topic, kafka.status_topic, kafka.dead_letter_topic]
    names = ("KAFKA__EVENTS_TOPIC", "KAFKA__STATUS_TOPIC", "KAFKA__DEAD_LETTER_TOPIC")
    for place, topic in enumerate(topics):
        if topic in topics[:place]:
            first = names[topics.index(topic)]
            problems.append(f"{names[place]}: is the same topic as {first}; write another")
    if kafka.group_protocol == "classic" and kafka.session_timeout_s < MIN_SESSION_TIMEOUT_S:
        problems.append(
            f"KAFKA__SESSION_TIMEOUT_S: is too short; write {MIN_SESSION_TIMEOUT_S:g} or more, so "
            "that a dead process's transaction is aborted before its partitions move"
        )
    longest_s = _poll_interval_s(settings)
    if kafka.group_protocol == "classic" and kafka.session_timeout_s > (longest_s or math.inf):
        problems.append(
            f"KAFKA__SESSION_TIMEOUT_S: is longer than the poll interval; write {longest_s:g} or "
            "less, or raise max.poll.interval.ms in KAFKA__OPTIONS"
        )
    if "session.timeout.ms" in kafka.options:
        problems.append(
            "KAFKA__OPTIONS: can't hold session.timeout.ms; set KAFKA__SESSION_TIMEOUT_S"
        )
    return problems


def _events(settings: Settings) -> list[str]:
    if settings.events.encoding == "plain" and settings.schema_registry.url is not None:
        return ["EVENTS__ENCODING: plain events name no schema; write framed, or set no registry"]
    return []


def _login(settings: Settings) -> list[str]:
    org = settings.salesforce
    problems = []
    with_key = org.username is not None or org.private_key_file is not None
    if org.consumer_secret is not None and with_key:
        problems.append(
            "SALESFORCE__CONSUMER_SECRET: there are two ways to log in; leave out this one, or "
            "SALESFORCE__USERNAME and SALESFORCE__PRIVATE_KEY_FILE"
        )
    elif with_key and org.username is None:
        problems.append("SALESFORCE__USERNAME: is missing beside SALESFORCE__PRIVATE_KEY_FILE")
    elif with_key and org.private_key_file is None:
        problems.append("SALESFORCE__PRIVATE_KEY_FILE: is missing beside SALESFORCE__USERNAME")
    if org.consumer_secret is not None and org.domain in _GENERIC_DOMAINS:
        problems.append(
            "SALESFORCE__DOMAIN: client credentials need the org's own domain; write acme.my"
        )
    if org.private_key_file is not None and not org.private_key_file.is_file():
        problems.append("SALESFORCE__PRIVATE_KEY_FILE: there is no such file; name a PEM file")
    return problems


def _fields(settings: Settings) -> list[str]:
    mapping = settings.salesforce.fields
    problems = [] if mapping else ["SALESFORCE__FIELDS: is empty; map a field to an attribute"]
    for name, attribute in mapping.items():
        if not _FIELD_NAME.fullmatch(name):
            problems.append(f"SALESFORCE__FIELDS: {name!r} is not the API name of a field")
        if attribute not in ATTRIBUTES:
            close = difflib.get_close_matches(attribute, list(ATTRIBUTES), n=1)
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(ATTRIBUTES)}"
            problems.append(f"SALESFORCE__FIELDS: {attribute!r} is not an attribute; {hint}")
    return problems


def _poll_interval_s(settings: Settings) -> float | None:
    """None: it is not a number."""
    raw = settings.kafka.options.get("max.poll.interval.ms")
    try:
        return DEFAULT_MAX_POLL_INTERVAL_S if raw is None else float(raw) / 1000
    except ValueError:
        return None


def _times(settings: Settings) -> list[str]:
    """A request must end within the revoke deadline, and that within the poll interval."""
    problems = []
    request_s = sum(settings.salesforce.request_timeouts_s)
    revoke_s = settings.worker.revoke_deadline_s
    if request_s >= revoke_s:
        problems.append(
            f"WORKER__REVOKE_DEADLINE_S: a request to Salesforce may take {request_s:g} s with "
            "connecting; write more than that, or shorten SALESFORCE__REQUEST_TIMEOUT_S"
        )
    poll_s = _poll_interval_s(settings)
    if poll_s is None:
        problems.append("KAFKA__OPTIONS: max.poll.interval.ms is not a number")
    elif revoke_s >= poll_s:
        problems.append(
            f"WORKER__REVOKE_DEADLINE_S: must be less than the poll interval; write less than "
            f"{poll_s:g}, or raise max.poll.interval.ms in KAFKA__OPTIONS"
        )
    if settings.worker.shutdown_deadline_s < revoke_s:
        problems.append(
            "WORKER__SHUTDOWN_DEADLINE_S: is shorter than WORKER__REVOKE_DEADLINE_S; write as much"
        )
    if settings.http.health_limit_s <= revoke_s:
        problems.append(
            "HTTP__HEALTH_LIMIT_S: a hand-over may take WORKER__REVOKE_DEADLINE_S, and the process "
            f"is not to be restarted in the middle of it; write more than {revoke_s:g}"
        )
    if settings.batch.catch_up_max_records < settings.batch.max_records:
        problems.append(
            "BATCH__CATCH_UP_MAX_RECORDS: is less than BATCH__MAX_RECORDS; write as much or more"
        )
    return problems

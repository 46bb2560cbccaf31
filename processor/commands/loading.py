"""The settings of a command; what the Kafka client refuses of them is told beside the rest."""

from __future__ import annotations

from collections.abc import Iterable

from processor.config.load import load_settings
from processor.config.settings import Settings
from processor.config.values import MASK
from processor.kafka.client.options import refused


def load(config: str | None, needs: Iterable[str] = ("kafka",)) -> Settings:
    """As `load_settings`. Raises ConfigError with everything that is wrong."""
    return load_settings(config, needs=needs, also=kafka_problems)


def kafka_problems(settings: Settings) -> list[str]:
    """What the Kafka client refuses of the options, without a secret that it may have repeated."""
    kafka = settings.kafka
    problems = refused(kafka.options, kafka.group_protocol, kafka.session_timeout_ms)
    for secret in (str(v) for k, v in kafka.options.items() if kafka.options.is_secret(k)):
        problems = [problem.replace(secret, MASK) for problem in problems]
    return [f"KAFKA__OPTIONS: {problem}" for problem in problems]

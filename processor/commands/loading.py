"""The settings of a command; what the Kafka client refuses of them is told beside the rest."""

from __future__ import annotations

from collections.abc import Iterable

from processor.config.load import load_settings
from processor.config.settings import Settings
from processor.kafka.client.options import refused


def load(config: str | None, needs: Iterable[str] = ("kafka",)) -> Settings:
    """As `load_settings`. Raises ConfigError with everything that is wrong."""
    return load_settings(config, needs=needs, also=_kafka_options)


def _kafka_options(settings: Settings) -> list[str]:
    kafka = settings.kafka
    problems = refused(kafka.options, kafka.group_protocol, kafka.session_timeout_ms)
    return [f"KAFKA__OPTIONS: {problem}" for problem in problems]

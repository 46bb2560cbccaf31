"""Addresses to listen on, and where others reach what listens there."""

from __future__ import annotations

from typing import Final

_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104 - not to listen on


def loopback_of(host: str) -> str:
    """Where a process on this machine reaches what listens on `host`."""
    return _LOOPBACKS.get(host := bare(host), host)


def bare(host: str) -> str:
    """An IPv6 address may be written as in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host

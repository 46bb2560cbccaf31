"""A real Schema Registry does what the client's own mock of one does."""

from __future__ import annotations

import pytest

from tests.contracts.registry_suite import RegistryContract, clock, registry, topic

__all__ = ["clock", "registry", "topic"]

pytestmark = pytest.mark.registry


class TestRealRegistry(RegistryContract):
    """`registry_url` is that of the server which the other tests use."""

"""Bytes of Kafka records <-> events and statuses."""

"""Brokers and registries on this machine."""

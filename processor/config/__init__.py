"""Typed settings: all problems at once, secrets masked."""

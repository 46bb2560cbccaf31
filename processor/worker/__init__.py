"""The cycle and its parts. Knows nothing but `core` and `ports`."""

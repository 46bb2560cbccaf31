"""The whole job in one process, judged."""

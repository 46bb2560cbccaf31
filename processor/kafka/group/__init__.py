"""The consumer group: who we are in it, and what it has committed."""

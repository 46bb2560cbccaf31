"""The topics: what they must be, whose they are, and whether they still are."""

"""A delivery report as it comes: its shapes and its fields."""

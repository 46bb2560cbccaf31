"""Delivery reports as a gateway makes them, and what must come of them."""

"""`processor forget`."""

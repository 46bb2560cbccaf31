"""`processor produce`."""

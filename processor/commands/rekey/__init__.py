"""`processor rekey`."""

"""`processor settings` and `processor validate`: no far side is contacted."""

"""`loraloom watch`: what it serves, and that it changes nothing."""

"""Places where work can run, each a frozen bundle of ports."""

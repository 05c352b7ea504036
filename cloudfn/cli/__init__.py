"""The command line: one file per noun; the only floor that prints. It decides nothing itself."""

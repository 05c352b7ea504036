"""Calls as every engine knows them: found, shown, run once more."""

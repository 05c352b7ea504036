"""Use cases of the engine; they do not know each other."""

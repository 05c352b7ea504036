"""The pytest plugin of `cloudfn.testing`, found by entry point; no work at import."""

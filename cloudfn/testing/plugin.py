"""The pytest plugin of `cloudfn.testing`; pytest finds it by entry point and it does no work at import."""

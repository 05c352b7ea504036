"""Containers of Docker: how they are confined, started, watched and removed."""

"""Bytes that cross a process boundary."""

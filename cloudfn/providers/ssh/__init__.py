"""Shells and commands on machines, over SSH with host keys that the machines' agents told us."""

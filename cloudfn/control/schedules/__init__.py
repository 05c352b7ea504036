"""Schedules: when they are due, what a deploy makes of them, and the loop that fires them."""

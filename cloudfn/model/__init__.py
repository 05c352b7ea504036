"""Frozen values and pure rules that every part shares."""

"""Measures and models; `bench/` compares cloudfn on one machine with its peers."""

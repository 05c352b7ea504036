"""The process on each machine of a cloud: `python -m cloudfn.machine`.

The agent runs containers here as it does on one machine; what it claims from and records in is a
ledger that others share, far away. So claims are fetched ahead of it and outcomes written behind
it, in threads, and the planner of the environment says how many containers there may be.
"""

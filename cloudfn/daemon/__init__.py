"""The daemon: one per environment and user; ledger, agent and planner in one process."""

"""The daemon: one per environment and user; the ledger, the agent and the planner in one process."""

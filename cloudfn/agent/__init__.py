"""The agent: runs the containers of one machine, claims inputs for them and records outcomes."""

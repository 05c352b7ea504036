"""The planner: observes pools and the machine, decides how many containers run, and acts."""

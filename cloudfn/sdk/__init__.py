"""What a program holds: apps, functions, calls, and the connection to the engine."""

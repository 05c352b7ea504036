"""The parts of the Image builder, and what becomes of its layers on the client."""

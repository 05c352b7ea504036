"""What clients may ask of a front; docs/protocol.md has the table of operations."""

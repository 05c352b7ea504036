"""What clients may ask for: one method per operation of `docs/protocol.md`, grouped by subject."""

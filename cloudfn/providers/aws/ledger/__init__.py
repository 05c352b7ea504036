"""The ledger on one DynamoDB table: pages of inputs, each a partition of its own."""

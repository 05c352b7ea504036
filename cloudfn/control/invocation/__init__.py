"""The client's side of the engine on a cloud: calls, apps and stores, without a daemon."""

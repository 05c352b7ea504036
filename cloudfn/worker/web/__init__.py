"""The container's side of web functions: ASGI events from and to the gateway. Standard library."""

"""The gateway: HTTP and websockets from this machine to the containers of web functions."""

"""Docker: which engine answers, images that it builds, and registries that they come from."""

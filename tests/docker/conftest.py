"""Fixtures that all tests of Docker containers share."""

from tests.docker.cells import cells, docker_environ

__all__ = ["cells", "docker_environ"]

"""How an image is built, as data: Dockerfiles, and plans of virtual environments. Pure."""

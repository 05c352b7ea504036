"""What runs user code on a machine: a zygote forks templates, and these fork containers."""

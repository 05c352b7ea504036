"""`python -m cloudfn`: the same as the `cloudfn` command."""

from __future__ import annotations

from cloudfn.cli.main import run

if __name__ == "__main__":
    run()

"""`python -m cloudfn`: the same as the `cloudfn` command."""

from __future__ import annotations

if __name__ == "__main__":
    try:
        from cloudfn.cli.main import run
    except KeyboardInterrupt:
        import sys

        sys.exit(130)
    run()

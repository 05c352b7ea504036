"""A daemon whose wall clock a test moves: `python clocked_daemon.py ENVIRONMENT FILE`.

The file holds the seconds by which the wall clock is ahead of the machine's; all else is as ever.
"""

import sys
from pathlib import Path

from cloudfn.clock import SystemClock
from cloudfn.daemon.__main__ import main


class ShiftedClock(SystemClock):
    """The machine's clock, with another time of day."""

    def __init__(self, ahead: Path) -> None:
        super().__init__()
        self._ahead = ahead

    def wall(self) -> float:
        return super().wall() + float(self._ahead.read_text())


if __name__ == "__main__":
    sys.exit(main(["--env", sys.argv[1]], ShiftedClock(Path(sys.argv[2]))))

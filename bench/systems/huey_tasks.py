"""The huey instance, for the client and for the consumer: SQLite in the run's folder."""

from __future__ import annotations

import os

import accounting
import tasks
from huey import SqliteHuey  # type: ignore[import-not-found]

huey = SqliteHuey(filename=os.path.join(os.environ.get(accounting.FOLDER_VARIABLE, "."), "huey.db"))
noop = huey.task()(tasks.noop)
echo = huey.task()(tasks.echo)
size = huey.task()(tasks.size)

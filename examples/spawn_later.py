"""Inputs that begin later, go first, or are of no use after a time.

Run it with `cloudfn run examples/spawn_later.py`.
"""

import time

import cloudfn
from cloudfn.exception import DeadlineExceededError

app = cloudfn.App("spawn-later")


@app.function(max_containers=1)
def report(name: str, seconds: float = 0.0) -> str:
    time.sleep(seconds)
    return name


@app.local_entrypoint()
def main() -> None:
    started = time.monotonic()
    reminder = report.spawn("reminder", delay=2.0)

    # One container: these wait in line behind the first, and the urgent one goes before the other.
    first = report.spawn("first", 1.5)
    usual = report.spawn("usual")
    urgent = report.spawn("urgent", priority=5)
    too_late = report.spawn("too late", deadline=0.1)

    for call in (first, urgent, usual):
        print(call.get(), "is done")
    try:
        too_late.get()
    except DeadlineExceededError as error:
        print("never begun:", type(error).__name__)
    print(reminder.get(), "came after two seconds:", time.monotonic() - started >= 2.0)

    # Where a function has parameters of these names, say it this way.
    print(report.spawn_with(delay=0.1, priority=1).spawn("explicit").get())

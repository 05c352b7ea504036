"""Runs a function by itself, every half second: `cloudfn run examples/cron_report.py`.

Schedules fire while their app lives: during this run, or for good after `cloudfn deploy`. The
report for the weekday mornings is due too rarely to be seen here; `cloudfn schedule next` would
tell when it is.
"""

import threading

import cloudfn

app = cloudfn.App("cron-report")


@app.function(schedule=cloudfn.Period(seconds=0.5))
def heartbeat() -> None:
    print("still here", flush=True)


@app.function(schedule=cloudfn.Cron("0 6 * * MON-FRI", timezone="America/New_York"))
def morning_report(day: str = "today") -> str:
    return f"nothing happened {day}"


@app.local_entrypoint()
def main(seconds: float = 2.2) -> None:
    threading.Event().wait(seconds)
    # A scheduled function is a function like any other.
    print(f"the report: {morning_report.remote('tonight')}")

"""Keeps containers warm during office hours: `cloudfn run examples/office_hours.py`.

The settings change by themselves at the given times, without code that runs. Whatever the time is,
the settings of the last change are in force as soon as the app lives, and the line shows them.

To an app that is deployed, a change can be added by hand, until its next deploy:

    cloudfn deploy examples/office_hours.py
    cloudfn schedule scale office-hours answer --cron "0 12 * * *" --max-containers 8
    cloudfn schedule list --app office-hours
"""

import cloudfn

app = cloudfn.App("office-hours")
NEW_YORK = "America/New_York"


@app.function(
    scaling=[
        cloudfn.ScaleAt("0 6 * * MON-FRI", timezone=NEW_YORK, min_containers=2),
        cloudfn.ScaleAt("0 22 * * MON-FRI", timezone=NEW_YORK, min_containers=0),
    ]
)
def answer(question: str) -> str:
    return f"{question}? By all means."


@app.local_entrypoint()
def main() -> None:
    settings = answer.autoscaler.settings()
    print(f"kept warm at this time of day: {settings.min_containers}")
    print(answer.remote("Shall we"))

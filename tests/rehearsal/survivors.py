"""The app that is deployed in the tests of what it has to survive."""

import time

import cloudfn

app = cloudfn.App("survivors")
#: the second deploy has another one here
REVISION = 1


@app.function(scaledown_window=2)
def patient(name):
    """Wait until a queue has two elements: one is put by each attempt."""
    seen = cloudfn.Queue.from_name(name, create_if_missing=True)
    seen.put("an attempt")
    while seen.len() < 2:
        time.sleep(0.2)
    return seen.len()


@app.function(max_containers=1, scaledown_window=2)
def crunch(x):
    """Say which revision this is; input 2500 waits until somebody puts something into `gate`."""
    if x == 2500:
        cloudfn.Queue.from_name("gate", create_if_missing=True).get(timeout=120)
    return REVISION, x


@app.function(scaling=[cloudfn.ScaleAt("* * * * *", min_containers=1)], scaledown_window=2)
def ready():
    """Be kept by a schedule of this program."""


@app.function(scaledown_window=2)
def awake():
    """Be kept by a schedule that somebody else made."""

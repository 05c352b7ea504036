"""The app of the measures about containers: says when its code began to run."""

from __future__ import annotations

import time

import cloudfn

app = cloudfn.App("starts")
image = cloudfn.Image.debian_slim()


@app.function(max_containers=2, image=image)
def begin(hold: float = 0.0) -> float:
    began = time.monotonic()
    time.sleep(hold)
    return began

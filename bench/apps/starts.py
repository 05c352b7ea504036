"""The app of the measures about containers: says when its code began to run, and in what."""

from __future__ import annotations

import os
import time

import cloudfn

app = cloudfn.App("starts")
image = cloudfn.Image.debian_slim()


@app.function(max_containers=2, image=image)
def begin() -> tuple[float, bool]:
    return time.monotonic(), os.path.exists("/run/cloudfn")


@app.function(max_containers=2, image=image)
def begin_again() -> tuple[float, bool]:
    return begin.local()

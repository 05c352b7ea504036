"""The Celery app, for the client and for the worker: Redis where there is one, else files."""

from __future__ import annotations

import os

import accounting
import tasks
from celery import Celery  # type: ignore[import-not-found]

BROKER_VARIABLE = "BENCH_CELERY_REDIS"


def _new_app(folder: str, redis: str) -> Celery:
    app = Celery("bench")
    app.conf.update(task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"])
    if redis:
        app.conf.update(
            broker_url=f"redis+socket://{redis}", result_backend=f"redis+socket://{redis}"
        )
        return app
    queue, results = os.path.join(folder, "queue"), os.path.join(folder, "results")
    for path in (queue, results):
        os.makedirs(path, exist_ok=True)
    # The transport of files polls, once a second unless told otherwise.
    app.conf.update(
        broker_url="filesystem://",
        broker_transport_options={
            "data_folder_in": queue,
            "data_folder_out": queue,
            "control_folder": os.path.join(folder, "control"),
            "polling_interval": 0.005,
        },
        result_backend=f"file://{results}",
    )
    return app


app = _new_app(os.environ.get(accounting.FOLDER_VARIABLE, "."), os.environ.get(BROKER_VARIABLE, ""))
noop = app.task(tasks.noop, name="noop")
echo = app.task(tasks.echo, name="echo")
size = app.task(tasks.size, name="size")
arrive = app.task(tasks.arrive, name="arrive")

"""Rescales a function while it works: `cloudfn run examples/autoscale.py`.

Forty inputs of a quarter of a second each go to one container. After a second the limit is raised
to eight, and the lines show how containers come and the backlog melts. At the end the function is
told to keep two containers warm, which it would do until the app ends.
"""

import threading

import cloudfn

app = cloudfn.App("autoscale")


@app.function(max_containers=1, scaledown_window=5)
def work(seconds: float) -> float:
    # Waits, as for a database or another service: such inputs get containers of their own.
    threading.Event().wait(seconds)
    return seconds


def show(moment: str) -> None:
    stats = work.get_current_stats()
    print(
        f"{moment:<22} waiting {stats.backlog:>3}   running {stats.num_running_inputs:>2}   "
        f"containers {stats.num_total_runners:>2}"
    )


@app.local_entrypoint()
def main(inputs: int = 40, seconds: float = 0.25) -> None:
    call = work.spawn_map([seconds] * inputs)
    pause = threading.Event()
    pause.wait(1.0)
    show("one container:")

    work.update_autoscaler(max_containers=8)
    for _ in range(3):
        pause.wait(0.4)
        show("eight allowed:")

    total = sum(call.iter())
    show("all inputs done:")
    settings = work.update_autoscaler(min_containers=2)
    print(f"{inputs} inputs waited {total:.1f} s in all; two containers stay warm: {settings}")

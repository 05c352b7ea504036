"""Work that goes on after the program that began it has ended.

    cloudfn run --detach examples/overnight.py
    cloudfn call list
    cloudfn call get fc-…            # waits for the result, in any process

A detached app lives until its calls are finished, those too that its functions make.
Without `--detach` the app ends with the entry point, and what is unfinished is cancelled.
"""

import random

import cloudfn

app = cloudfn.App("overnight")


@app.function(max_containers=8)
def throw(seed: int, darts: int) -> int:
    """Return how many darts, thrown at a square, hit the circle in it."""
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(darts))


@app.function(timeout=12 * 3600)
def estimate(rounds: int, darts: int) -> float:
    """Return an estimate of pi; the one that waits for all the others is a container as well."""
    hits = sum(throw.map(range(rounds), kwargs={"darts": darts}))
    return 4 * hits / (rounds * darts)


@app.local_entrypoint()
def main(rounds: int = 20, darts: int = 100_000) -> None:
    call = estimate.spawn(rounds, darts)
    print(f"{call.object_id} is under way. Good night.")

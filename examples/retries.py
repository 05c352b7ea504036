"""A function that fails now and then, and a caller that hears nothing of it.

`cloudfn run examples/retries.py` sends twelve inputs to a service that refuses the first attempts
of every third one. With `retries=` each is tried again after a growing pause, and all twelve
arrive. Input 12 is one that no retry helps: its own exception reaches the caller, with the line
of the function that raised it, and spoils none of the others.
"""

import os
import tempfile
from pathlib import Path

import cloudfn

app = cloudfn.App("retries")


class RefusedError(Exception):
    """The service said no."""


@app.function(retries=cloudfn.Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=1.5))
def fetch(number: int, counters: str) -> str:
    attempt = count_attempt(Path(counters) / str(number))
    if number == 12:
        raise RefusedError(f"there is no number {number}, however often you ask")
    if number % 3 == 0 and attempt < 3:
        raise RefusedError(f"number {number}, attempt {attempt}: come back later")
    return f"number {number} arrived with attempt {attempt}"


def count_attempt(counter: Path) -> int:
    """Attempts may run in different containers, so they are counted in a file."""
    with counter.open("ab", buffering=0) as file:
        file.write(b".")
        return os.fstat(file.fileno()).st_size


@app.local_entrypoint()
def main() -> None:
    with tempfile.TemporaryDirectory() as counters:
        results = fetch.map(range(1, 13), kwargs={"counters": counters}, return_exceptions=True)
        for result in results:
            print(f"failed for good: {result}" if isinstance(result, Exception) else result)

"""Code that was written for an Executor, or for joblib, in containers.

Run it with `cloudfn run examples/executor.py`. Containers have joblib where they have your Python;
those of Docker, on a cloud too, need `image=cloudfn.Image.debian_slim().pip_install("joblib")`.
"""

import math
from collections.abc import Callable
from concurrent import futures
from typing import Any

import cloudfn

app = cloudfn.App("executor")


@app.function(max_containers=4)
def call(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return f(*args, **kwargs)


def digits(n: int) -> int:
    """Return how many digits n! has."""
    return len(str(math.factorial(n)))


def total(executor: futures.Executor, numbers: list[int]) -> int:
    """What existing code looks like: it knows nothing of cloudfn."""
    tasks = [executor.submit(digits, n) for n in numbers]
    return sum(task.result() for task in futures.as_completed(tasks))


@app.local_entrypoint()
def main() -> None:
    with cloudfn.Executor(call) as executor:
        print("digits in all:", total(executor, [10, 100, 1000]))
        print("squares:", list(executor.map(lambda x: x * x, range(5))))

    try:
        from joblib import Parallel, delayed
    except ImportError:
        print("joblib is not installed")
        return
    with cloudfn.joblib_backend(call):
        print("with joblib:", Parallel()(delayed(digits)(n) for n in (10, 20, 30)))

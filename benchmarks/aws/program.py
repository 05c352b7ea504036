"""What is deployed to be measured."""

import time

import cloudfn

app = cloudfn.App("bench")


@app.function(scaledown_window=60, max_containers=4)
def square(number: int) -> int:
    """Take no time."""
    return number * number


@app.function(scaledown_window=60, max_containers=4)
def slow(number: int) -> int:
    """Take a second."""
    time.sleep(1.0)  # noqa: TID251 - as users write it
    return number


@app.function(cpu=2.0)
def large_0() -> None:
    """Fill a machine for a while, so that the next ones of these need machines of their own."""
    time.sleep(40.0)  # noqa: TID251 - as users write it


@app.function(cpu=2.0)
def large_1() -> None:
    """The same."""
    large_0.local()


@app.function(cpu=2.0)
def large_2() -> None:
    """The same."""
    large_0.local()


@app.function(cpu=2.0)
def large_3() -> None:
    """The same."""
    large_0.local()

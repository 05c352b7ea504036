"""Counts the primes below n, a slice per input: `cloudfn run examples/primes.py --n 2000000`.

The progress line shows the containers come, at most eight, and the summary says how many there
were. `cloudfn run examples/primes.py::count_primes --lo 0 --hi 100` runs one slice alone.
"""

import cloudfn

app = cloudfn.App("primes")


@app.function(max_containers=8, buffer_containers=1, scaledown_window=20, retries=2, timeout=60)
def count_primes(lo: int, hi: int) -> int:
    """Count the primes p with lo <= p < hi: cross out the multiples of every prime up to √hi."""
    is_prime = bytearray([1]) * max(hi - lo, 0)
    for number in range(lo, min(hi, 2)):
        is_prime[number - lo] = 0
    for factor in range(2, int(hi**0.5) + 1):
        first = max(factor * factor, -(-lo // factor) * factor)
        is_prime[first - lo :: factor] = bytes(len(range(first, hi, factor)))
    return sum(is_prime)


@app.local_entrypoint()
def main(n: int = 1_000_000, step: int = 20_000) -> None:
    print(sum(count_primes.starmap((lo, lo + step) for lo in range(0, n, step))))

"""Score texts many at a time, while every caller asks for one.

`cloudfn run examples/batched_scoring.py` calls a function once for each text. `@cloudfn.batched`
collects the calls: the function gets a list for each parameter and returns a list, so that a model
which scores 32 texts as fast as one is used as it should be. A batch is closed when it is full, or
`wait_ms` after its first input came.
"""

import math

import cloudfn

app = cloudfn.App("batched-scoring")

WEIGHTS = {"good": 2.0, "fine": 1.0, "slow": -1.0, "broken": -3.0}


@app.function(max_containers=1)
@cloudfn.batched(max_batch_size=32, wait_ms=50)
def score(text: list[str], bias: list[float]) -> list[tuple[float, int]]:
    """What a model would do in one pass over a matrix."""
    sums = [
        sum(WEIGHTS.get(word, 0.0) for word in line.split()) + b
        for line, b in zip(text, bias, strict=True)
    ]
    return [(round(1 / (1 + math.exp(-each)), 3), len(text)) for each in sums]


@app.local_entrypoint()
def main(copies: int = 24) -> None:
    texts = ["good and fine", "slow but good", "broken"] * copies

    results = list(score.map(texts, kwargs={"bias": 0.5}))

    for text, (value, _) in list(zip(texts, results, strict=True))[:3]:
        print(f"{value:.3f}  {text}")
    calls = sum(1 / size for _, size in results)
    print(f"{len(texts)} texts in {calls:.0f} calls of the function")
    print(f"one by itself: {score.remote('good', bias=0.0)[0]}")

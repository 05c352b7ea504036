"""A class that loads something once and then serves calls, in one pool for each parameter.

`cloudfn run examples/model_class.py` makes two models of text, one of letters and one of pairs of
letters. Each is trained once in each of its containers, by the hook that `enter` marks, and then
scores many words. `cloudfn run examples/model_class.py::Model.score --order 2 --word pool` calls
one method: parameters and arguments are options alike.
"""

import os
from collections import Counter
from math import log

import cloudfn

app = cloudfn.App("model-class")

TEXT = "every function is a pool of containers that grows from nothing and goes back to nothing"


@app.cls(scaledown_window=30)
class Model:
    order: int = cloudfn.parameter(default=1)

    @cloudfn.enter()
    def train(self) -> None:
        self.seen = Counter(pieces(TEXT, self.order))
        print(f"trained a model of order {self.order}: {len(self.seen)} pieces")

    @cloudfn.method()
    def score(self, word: str) -> float:
        return sum(log(1 + self.seen[piece]) for piece in pieces(word, self.order))

    @cloudfn.method()
    def where(self) -> int:
        return os.getpid()

    @cloudfn.exit()
    def leave(self) -> None:
        print(f"the model of order {self.order} leaves")


def pieces(text: str, order: int) -> list[str]:
    return [text[i : i + order] for i in range(len(text) - order + 1)]


@app.local_entrypoint()
def main() -> None:
    words = ["function", "pool", "xylophone"]
    for order in (1, 2):
        model = Model(order=order)
        scores = dict(zip(words, model.score.map(words), strict=True))
        print(f"order {order}:", *(f"{word} {score:.1f}" for word, score in scores.items()))
    print(
        "each parameter has its containers:",
        Model(order=1).where.remote() != Model(order=2).where.remote(),
    )

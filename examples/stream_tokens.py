"""Streams an answer word by word: `cloudfn run examples/stream_tokens.py`.

The function yields a word at a time, as a language model does, and each is printed when it arrives,
long before the function has ended. The first loop is left early: the generator is closed where it
runs, and says how far it had come.
"""

import re
import threading
from collections.abc import Iterator

import cloudfn

app = cloudfn.App("stream-tokens")

POEM = """A rose by any other name would smell as sweet; so Romeo would, were he not Romeo call'd,
retain that dear perfection which he owes without that title."""


@app.function(max_containers=1)
def answer(text: str, pause: float) -> Iterator[str]:
    words = re.findall(r"\S+\s*", text)
    said = 0
    try:
        for word in words:
            # Stands for the time that a model takes to find the next word.
            threading.Event().wait(pause)
            yield word
            said += 1
    finally:
        if said < len(words):
            print(f"closed after {said} of {len(words)} words")


@app.local_entrypoint()
def main(pause: float = 0.1) -> None:
    for word in answer.remote_gen(POEM, pause):
        if "name" in word:
            print("that will do")
            break

    arrived = 0
    for word in answer.remote_gen(POEM, pause):
        print(word, end="", flush=True)
        arrived += 1
    print(f"\n{arrived} words arrived one by one")

"""Functions that talk to each other while they run: a queue of work, a dict of what came of it.

`cloudfn run examples/shared_state.py` starts workers that take words from a Queue until they are
told to stop, and sort them by first letters into partitions of the queue. A Dict remembers which
letters there are. The words are put while the workers run; each goes to one of them.
"""

import cloudfn

app = cloudfn.App("shared-state")
WORDS = ["apple", "avocado", "banana", "blueberry", "cherry", "coconut", "date", "apricot"]


@app.function(max_containers=2)
def sort_words(words: cloudfn.Queue, letters: cloudfn.Dict) -> int:
    done = 0
    while (word := words.get(timeout=60)) is not None:
        letters[word[0]] = word
        words.put(word, partition=word[0])
        done += 1
    return done


@app.local_entrypoint()
def main(workers: int = 2) -> None:
    with cloudfn.Queue.ephemeral() as words, cloudfn.Dict.ephemeral() as letters:
        calls = [sort_words.spawn(words, letters) for _ in range(workers)]
        words.put_many(WORDS)
        words.put_many([None] * workers)
        done = cloudfn.FunctionCall.gather(*calls)
        for letter in sorted(letters.keys()):
            print(f"{letter}: {', '.join(sorted(words.iterate(partition=letter)))}")
        print(f"{sum(done)} words, sorted by {workers} workers")

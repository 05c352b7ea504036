"""Puts an app together from parts: `cloudfn run examples/include_apps.py`.

Each part could be a module of its own, with the functions and entry points of one subject. The
whole runs and deploys as one app.
"""

import cloudfn

text = cloudfn.App("text")
numbers = cloudfn.App("numbers", tags={"subject": "numbers"})
app = cloudfn.App("whole")


@text.function()
def words(line: str) -> int:
    return len(line.split())


@numbers.function()
def mean(values: list[int]) -> float:
    return sum(values) / len(values)


app.include(text).include(numbers)


@app.local_entrypoint()
def main() -> None:
    counts = list(words.map(["one", "one two", "one two three"]))
    print(f"{', '.join(sorted(app.registered_functions))}: {mean.remote(counts)} words on average")
    info = app.info()
    print(f"{info.name} is {info.state} and has {len(info.functions)} functions")

"""The smallest program: `cloudfn run examples/hello.py --name Ada` greets from a container."""

import cloudfn

app = cloudfn.App("hello")


@app.function()
def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.local_entrypoint()
def main(name: str = "world") -> None:
    print(greet.remote(name))

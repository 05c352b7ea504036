"""What a program can ask about itself: `cloudfn run examples/where_am_i.py`.

The image's variables and packages are there in containers, and no others; `image.imports()` lets
the program load here without them.
"""

import os

import cloudfn

image = cloudfn.Image.debian_slim().env({"GREETING": "Hello"})
app = cloudfn.App("where-am-i", image=image)

with image.imports():
    import json


@app.function(retries=cloudfn.Retries(max_retries=2, initial_delay=0.0))
def report() -> str:
    attempt = cloudfn.current_attempt()
    if attempt == 1:
        raise RuntimeError("once more, please")
    print(f"call {cloudfn.current_function_call_id()}, input {cloudfn.current_input_id()}")
    return json.dumps({"greeting": os.environ["GREETING"], "local": cloudfn.is_local(),
                       "attempt": attempt})  # fmt: skip


@app.local_entrypoint()
def main() -> None:
    print(f"here: local is {cloudfn.is_local()}, input is {cloudfn.current_input_id()}")
    call = report.spawn()
    print(f"there: {call.get()}")
    for entry in call.logs.fetch(source="stdout"):
        print(f"logged by {entry.object_id[:3]}…: {entry.message.split(',')[0][:8]}…")

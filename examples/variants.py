"""The same function with other options, failures that are worth a retry, and callbacks.

Run it with `cloudfn run examples/variants.py`. A variant has containers and settings of its own.
"""

import os
import threading

import cloudfn

app = cloudfn.App("variants")


class BusyError(Exception):
    """Worth another attempt."""


class UnknownError(Exception):
    """Will be as unknown the next time."""


PATIENT = cloudfn.Retries(max_retries=2, initial_delay=0.0, retry_on=BusyError)


@app.function(max_containers=1)
def greet(name: str) -> str:
    return f"{os.environ.get('GREETING', 'Hello')}, {name}!"


@app.function(retries=PATIENT)
def look_up(name: str) -> str:
    attempt = cloudfn.current_attempt()
    if name == "nobody":
        raise UnknownError(f"attempt {attempt}: there is no {name}")
    if attempt == 1:
        raise BusyError("come back later")
    return f"{name}, found with attempt {attempt}"


@app.local_entrypoint()
def main() -> None:
    french = greet.with_options(env={"GREETING": "Bonjour"}, max_containers=4)
    crowded = french.with_concurrency(max_inputs=8)
    print(greet.remote("Ada"), french.remote("Ada"), *crowded.map(["Alan", "Grace"]))
    print("most containers:", greet.autoscaler.settings().max_containers,
          "and", crowded.autoscaler.settings().max_containers)  # fmt: skip

    print(look_up.remote("somebody"))
    try:
        look_up.remote("nobody")
    except UnknownError as error:
        print("not tried again:", error)

    told = threading.Event()

    def tell(call: cloudfn.FunctionCall) -> None:
        print("a callback says:", call.get())
        told.set()

    french.spawn("callback").add_done_callback(tell)
    told.wait(30)

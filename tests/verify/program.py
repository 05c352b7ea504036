"""What `make verify-aws` deploys."""

import os
import time

import cloudfn

app = cloudfn.App("verify-aws")
counters = cloudfn.Dict.from_name("verify-aws", create_if_missing=True)
elements = cloudfn.Queue.from_name("verify-aws", create_if_missing=True)
files = cloudfn.Volume.from_name("verify-aws", create_if_missing=True)


@app.function(scaledown_window=5, max_containers=8)
def square(number):
    return number * number


@app.function(scaledown_window=5)
def sized(data):
    return data[::-1]


@app.function(scaledown_window=5)
def slow(number):
    elements.put(number)
    time.sleep(20)
    return number


@app.function()
def fails():
    raise ValueError("as it should")


@app.function()
def steps(count):
    yield from range(count)


@app.function(secrets=[cloudfn.Secret.from_dict({"VERIFY_AWS": "told"})], volumes={"/files": files})
def remembers(text):
    counters["text"] = text
    with open("/files/text", "w") as file:
        file.write(text)
    files.commit()
    return os.environ["VERIFY_AWS"], square.remote(4)

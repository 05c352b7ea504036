"""Packages that this Python does not have: the image says what its containers have installed.

    cloudfn run examples/third_party.py
    cloudfn run --runtime docker examples/third_party.py

In the process runtime the image becomes a virtual environment, with Docker a Docker image. Either
is built once, and again only when the lines of `image` change.
"""

import cloudfn

image = cloudfn.Image.debian_slim().pip_install("humanize==4.13.0")
app = cloudfn.App("third-party", image=image)

with image.imports():
    import humanize


@app.function()
def describe(size: int) -> str:
    return humanize.naturalsize(size, binary=True)


@app.local_entrypoint()
def main() -> None:
    for text in describe.map([512, 2**20, 5 * 2**30]):
        print(text)

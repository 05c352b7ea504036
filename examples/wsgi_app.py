"""A WSGI application, as Flask and Django make them, behind containers that come and go.

    cloudfn run examples/wsgi_app.py

The standard library's validator is around it, so that what it gets is WSGI to the letter.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.request import urlopen
from wsgiref.validate import validator

import cloudfn

app = cloudfn.App("wsgi-app")


def count_words(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the most frequent words of the text that is posted."""
    text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    lines = [f"{word} {times}" for word, times in Counter(text.split()).most_common(3)]
    lines.append(f"asked at {environ['SCRIPT_NAME']} for {environ['PATH_INFO']}")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["\n".join(lines).encode()]


@app.function()
@cloudfn.wsgi_app(label="word-count")
def words() -> Callable[..., Iterable[bytes]]:
    return validator(count_words)


@app.local_entrypoint()
def main(text: str = "the cat and the dog and the bird") -> None:
    with urlopen(f"{words.get_web_url()}/top", data=text.encode()) as response:
        print(response.read().decode())

"""A server that listens at a port, any program, behind a URL that stays the same.

Run it with `cloudfn run examples/web_server.py`; `cloudfn serve` keeps it up, `cloudfn deploy`
for good. The container starts with the first request, which waits for it.

The port has to be free on this machine; `PORT=8080 cloudfn run …` chooses another.
"""

import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import cloudfn

PORT = int(os.environ.get("PORT", "18765"))
app = cloudfn.App("web-server")


# Containers see none of the variables here but those that `env` names.
@app.function(env={"PORT": str(PORT)})
@cloudfn.web_server(PORT, startup_timeout=30)
def files() -> None:
    folder = tempfile.mkdtemp()
    Path(folder, "hello.txt").write_text("hello from a file\n")
    command = [sys.executable, "-m", "http.server", str(PORT), "--bind", "127.0.0.1"]
    subprocess.Popen(command, cwd=folder)


@app.local_entrypoint()
def main() -> None:
    for _ in range(2):
        with urllib.request.urlopen(f"{files.get_web_url()}/hello.txt", timeout=60) as response:
            print(response.status, response.read().decode(), end="")

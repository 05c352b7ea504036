"""A command line whose provider is a cloud in memory."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cloudfn import settings
from cloudfn.cli.root import main
from cloudfn.cli.session import Host
from cloudfn.sdk.client import using
from cloudfn.sdk.function_call import FunctionCall
from tests.unit.cloud_world import World

PROGRAM = """
import cloudfn

app = cloudfn.App("primes")

@app.function(max_containers=3, schedule=cloudfn.Cron("0 3 * * *"))
def count(n: int = 10):
    print("from a container")
    return n + 1

@app.local_entrypoint()
def start(n: int = 4):
    print("counted", count.remote(n))
"""


class CloudLine:
    """`cloudfn` as it is typed, with a cloud in memory for the provider."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], world: Any = None) -> None:
        self.world = world or World(folder)
        self.chosen: list[settings.Settings] = []
        self._capsys = capsys
        self._client = self.world.client()
        self.program = folder / "primes.py"
        self.program.write_text(textwrap.dedent(PROGRAM))

    def host(self) -> Host:
        def connect(chosen: settings.Settings, _start: bool) -> object:
            self.chosen.append(chosen)
            return self._client

        return Host(
            connect=connect,
            prestart=lambda chosen: None,
            open_program=lambda chosen: connect(chosen, True),
            execute=lambda command, environ, cwd: None,
            get_result=lambda client, call, index, timeout: FunctionCall.from_id(
                call, client=client
            ).get(timeout, index=index),
            load_settings=lambda name: settings.load({}, environment=name),
        )

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command; return what it printed, errors last."""
        self._client = self.world.client()
        with using(self._client):
            found = main(words, self.host())
        shown = self._capsys.readouterr()
        assert found == code, shown.err
        return shown.out + shown.err

    def document(self, *words: str) -> object:
        """Return what a command prints with --json."""
        self._client = self.world.client()
        with using(self._client):
            assert main([*words, "--json"], self.host()) == 0
        return json.loads(self._capsys.readouterr().out)

"""A command line without an engine: commands run against a client that answers from a script."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from cloudfn import errors, settings
from cloudfn.cli.root import build, main
from cloudfn.cli.session import Host, Session
from cloudfn.sdk import client as sdk_client
from cloudfn.sdk.client import Client, Welcome
from cloudfn.sdk.twins import Steps
from tests.cli.cloud_line import CloudLine

#: when every command of these tests runs
NOW = 1_800_000_000.0

Answer = Mapping[str, Any] | errors.Error | Callable[..., Any]


@dataclass
class FakeClient:
    """Answers each operation from `answers` and remembers what it was asked."""

    answers: dict[str, Answer]
    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    closed: bool = False

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self.asked.append((op, fields))
        answer = self.answers.get(op)
        if answer is None:
            raise errors.NotFoundError(f"nobody told the fake what {op} answers")
        if isinstance(answer, errors.Error):
            raise answer
        return dict(answer(**fields) if callable(answer) else answer)

    def subscribe(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        self.request(op, **fields)
        yield from self.messages

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    """What a program that runs here needs of the engine: it can be opened, watched and closed."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {
            "app_open": {"app_id": "ap-1", "revision": 1, "changed": True, "functions": {}},
            "app_close": {"containers_peak": 3, "done": 12, "failed": 1},
        }
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.clock = FixedClock()
        self.sink: Callable[[dict[str, Any]], None] = lambda _message: None
        self._welcome = Welcome("test", str(folder), str(folder), str(folder / "bundles"), 1000)

    def ready(self) -> Steps[Welcome]:
        yield from ()
        return self._welcome

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        yield from ()
        return FakeClient(self.answers, asked=self.asked).request(op, **fields)

    def listen(self, _op: str, _fields: dict[str, Any], sink: Callable[..., None]) -> int:
        self.sink = sink
        return 1

    def release(self, ref: int, *, tell: bool) -> None:
        pass

    def keep(self, app_id: str) -> None:
        pass

    def unkeep(self, app_id: str) -> None:
        pass


class FixedClock:
    """Stands still, but for sleeping."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def wall(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 1000.0 + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()


@dataclass
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    """`cloudfn` with a world of its own."""

    home: Path
    client: FakeClient = field(default_factory=lambda: FakeClient({}))
    engine: FakeEngine = field(init=False)
    environ: dict[str, str] = field(default_factory=dict)
    daemon_runs: bool = True
    clock: FixedClock = field(default_factory=FixedClock)
    executed: list[tuple[list[str], dict[str, str], str]] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    providers: list[str] = field(default_factory=list)
    prestarted: list[str] = field(default_factory=list)
    result: Callable[[], Any] = lambda: None
    #: what commands see of a cloud; None: the environment is this machine's
    cloud: Any = None
    #: what there is to be asked about at the provider; None: nothing
    account: Any = None

    def __post_init__(self) -> None:
        self.engine = FakeEngine(self.home)

    def host(self) -> Host:
        return Host(
            connect=self._connect,
            prestart=lambda chosen: self.prestarted.append(chosen.environment),
            open_program=self._open_program,
            execute=self._execute,
            get_result=lambda _client, _call, _index, _timeout: self.result(),
            load_settings=lambda name: settings.load(
                {"CLOUDFN_HOME": str(self.home / "state"), **self.environ}, environment=name
            ),
            clock=self.clock,
            build_environ=lambda: {"PIP_INDEX_URL": "https://packages"},
            home=self.home,
            open_account=lambda _chosen: self.account,
            **({} if self.cloud is None else {"open_cloud": lambda _chosen, _holder: self.cloud}),
        )

    def __call__(self, *arguments: str, stdin: str | None = None) -> Outcome:
        done = CliRunner().invoke(
            build(),
            list(arguments),
            input=stdin,
            prog_name="cloudfn",
            obj=Session(self.host()),
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr)

    def _open_program(self, chosen: settings.Settings) -> Client:
        self.environments.append(chosen.environment)
        return cast("Client", self.engine)

    def _connect(self, chosen: settings.Settings, start: bool) -> FakeClient:
        self.environments.append(chosen.environment)
        self.providers.append(chosen.provider)
        if not start and not self.daemon_runs:
            raise errors.ConnectionError("No daemon runs.")
        return self.client

    def _execute(self, command: Sequence[str], environ: Mapping[str, str], cwd: str) -> None:
        self.executed.append((list(command), dict(environ), cwd))


class TerminalStream(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def on_screen(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command on a narrow terminal and return what it shows there."""
    for name, value in {"COLUMNS": "40", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> str:
        screen = TerminalStream()
        with contextlib.redirect_stdout(screen):
            assert main(words, cli.host()) == 0
        return screen.getvalue()

    return run


@pytest.fixture
def docker_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let programs here run in containers of Docker, as they do on clouds."""
    monkeypatch.setenv("CLOUDFN_RUNTIME", "docker")
    sdk_client._settings.cache_clear()
    yield
    sdk_client._settings.cache_clear()


@pytest.fixture
def cloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], docker_runtime: None
) -> Iterator[CloudLine]:
    line = CloudLine(tmp_path, capsys)
    yield line
    line.world.close()


@pytest.fixture
def deployed(cloud: CloudLine) -> CloudLine:
    cloud("deploy", str(cloud.program), "--runtime", "docker")
    return cloud

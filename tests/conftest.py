"""What every test gets: a private home, interrupts that work, and hypothesis profiles."""

import importlib
import pkgutil
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import cloudfn.sdk
from tests.docker.engine import docker_engine

#: fixtures that any test may ask for
__all__ = ["docker_engine"]

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("soak", settings.get_profile("default"), max_examples=5_000)
settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time to whoever needs a Docker engine: the first one may have to install it."""
    for item in items:
        if docker_engine.__name__ in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def private_home() -> Iterator[Path]:
    """Keep every test away from the user's own daemons and state."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="cloudfn-test-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLOUDFN_ENVIRONMENT", "MODAL_ENVIRONMENT", "CLOUDFN_CONTAINER_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("CLOUDFN_HOME", str(home))
        # What machine the tests run on is not their business.
        patch.setenv("CLOUDFN_GPUS", "none")
        yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def children_can_be_interrupted() -> Iterator[None]:
    """Let Ctrl-C work in what tests start, also where it is ignored: `nohup make test &`."""
    # What is ignored stays so in every program that is executed; what is handled does not.
    inherited = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.fixture(scope="session", autouse=True)
def imported_before_there_are_threads() -> None:
    """Import what the SDK imports when it is first needed, before tests need it in threads.

    Pytest parses the modules of its plugins, to rewrite their assertions, and CPython before 3.12
    cannot parse in two threads at a time (https://github.com/python/cpython/issues/106905).
    """
    for module in pkgutil.iter_modules(cloudfn.sdk.__path__, "cloudfn.sdk."):
        importlib.import_module(module.name)

"""What an import may do and may cost. Each test asks a fresh interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What is mounted into containers: runs on the standard library, on any operating system.
MOUNTED = ("sdk", "worker", "wire", "model", "settings", "clock", "errors", "exception")

LIST_MODULES = """
import importlib.util, pkgutil
from pathlib import Path

def modules(*parts):
    for path in sorted(Path("cloudfn").rglob("*.py")):
        inside = path.relative_to("cloudfn").with_suffix("").parts
        name = ".".join(("cloudfn", *inside)).removesuffix(".__init__")
        if not parts or (inside[0] in parts):
            yield name
"""

IMPORT_UNDER_GUARD = (
    LIST_MODULES
    + """
import importlib, json, sys, threading

FORBIDDEN = {
    "os.chdir", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.mkdir", "os.posix_spawn",
    "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.system", "os.unsetenv",
    "shutil.rmtree", "socket.bind", "socket.connect", "socket.getaddrinfo",
    "socket.gethostbyname", "sqlite3.connect", "subprocess.Popen", "tempfile.mkdtemp",
    "tempfile.mkstemp",
}
current, work = "", {}

def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    # urllib3, which moto brings, sees whether there is IPv6.
    looks = event == "socket.bind" and arguments[1] == ("::1", 0)
    if current and not looks and (writes or event in FORBIDDEN):
        work.setdefault(current, []).append(f"{event} {arguments!r}")

sys.addaudithook(watch)
imported = []
for name in modules():
    current = name
    try:
        importlib.import_module(name)
    except BaseException as error:
        work.setdefault(name, []).append(repr(error))
    if threading.active_count() > 1:
        work.setdefault(name, []).append("started a thread")
    imported.append(name)
current = ""
print(json.dumps({"imported": imported, "work": work}))
"""
)

IMPORT_WITHOUT_LUGGAGE = (
    LIST_MODULES
    + """
import importlib, json, os, socket, sys
sys.path.insert(0, os.getcwd())

for absent in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[absent] = None
for absent in ("AF_UNIX", "SO_PEERCRED", "SCM_RIGHTS"):
    if hasattr(socket, absent):
        delattr(socket, absent)
for absent in ("fork", "getuid", "geteuid", "memfd_create", "pidfd_open"):
    if hasattr(os, absent):
        delattr(os, absent)

failed, imported = {}, []
for name in modules(*sys.argv[1:]):
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = repr(error)
    imported.append(name)
print(json.dumps({"imported": imported, "failed": failed}))
"""
)

AFTER_IMPORT = """
import json, sys
before = set(sys.modules)
import cloudfn
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""

AFTER_COMMAND_LINE = """
import contextlib, io, json, sys
sys.argv = ["cloudfn", *sys.argv[1:]]
from cloudfn.cli.main import run
shown, code = io.StringIO(), 0
with contextlib.redirect_stdout(shown):
    try:
        run()
    except SystemExit as leaving:
        code = leaving.code or 0
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"code": code, "shown": shown.getvalue(), "loaded": loaded}))
"""


def _ask(*command, environ=None):
    """Run a fresh interpreter in the repository and return what it says as JSON."""
    done = subprocess.run(
        [sys.executable, "-B", *command],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_no_import_does_any_work_or_needs_a_home_or_a_network():
    answer = _ask("-c", IMPORT_UNDER_GUARD, environ={"PATH": os.defpath})

    assert "cloudfn.errors" in answer["imported"]
    assert answer["work"] == {}


def test_what_is_mounted_into_containers_needs_no_site_packages_and_no_unix():
    answer = _ask("-I", "-S", "-c", IMPORT_WITHOUT_LUGGAGE, *MOUNTED)

    assert "cloudfn.errors" in answer["imported"]
    assert answer["failed"] == {}


def test_the_command_line_imports_on_any_operating_system():
    answer = _ask("-c", IMPORT_WITHOUT_LUGGAGE, "cli")

    assert "cloudfn.cli" in answer["imported"]
    assert answer["failed"] == {}


def test_import_cloudfn_stays_light():
    loaded = set(_ask("-c", AFTER_IMPORT))

    heavy = {"asyncio", "boto3", "cloudpickle", "croniter", "logging", "paramiko", "pydantic"}
    heavy |= {"rich", "sqlite3", "tenacity", "typer"}
    assert "cloudfn" in loaded
    assert loaded & heavy == set()


def test_help_loads_no_terminal_library_no_cloud_and_no_pickler():
    answer = _ask("-c", AFTER_COMMAND_LINE, "--help")

    assert answer["code"] == 0
    assert "deploy" in answer["shown"]
    assert set(answer["loaded"]) & {"boto3", "cloudpickle", "pydantic", "rich"} == set()


def test_a_dispatched_command_loads_no_pydantic():
    answer = _ask("-c", AFTER_COMMAND_LINE, "run", "--help")

    assert answer["code"] == 0
    assert set(answer["loaded"]) & {"boto3", "pydantic", "rich"} == set()


def test_a_daemon_starts_without_what_few_of_them_need():
    script = (
        "import json, sys, cloudfn.daemon.server, cloudfn.providers.local\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(_ask("-c", script))

    assert "asyncio" in loaded
    heavy = {"boto3", "cloudpickle", "croniter", "cryptography", "pickle", "uvicorn", "zoneinfo"}
    assert loaded & heavy == set()


def test_the_module_of_aws_clients_and_the_fakes_load_no_boto3():
    script = (
        "import json, sys, cloudfn.providers.aws.clients, cloudfn.testing.aws\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(_ask("-c", script))

    assert "botocore" in loaded
    assert "boto3" not in loaded

"""docs/modal-compatibility.md has every public name of Modal's, and says the truth about it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudfn
from cloudfn.cli.root import build
from cloudfn.errors import UnimplementedError

PACKAGE = Path(cloudfn.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "modal-compatibility.md"
#: where variables are read, and where those of containers are set
READERS = [PACKAGE / "settings.py", PACKAGE / "daemon" / "place.py"]
STATUSES = {"same", "more", "differs", "not here", "not yet"}

#: heading → Modal's public names, as its reference has them
NAMES = {
    "App": """name app_id description image logs registered_functions registered_classes
        registered_web_endpoints registered_entrypoints run deploy lookup include set_tags get_tags
        get_dashboard_url stop info stats local_entrypoint server function cls""",
    "Arguments of App": "name tags image secrets volumes include_source",
    "Arguments of `@app.function`": """image schedule env secrets gpu serialized
        network_file_systems volumes cpu memory ephemeral_disk min_containers max_containers
        buffer_containers scaledown_window proxy retries timeout startup_timeout name is_generator
        cloud region routing_region nonpreemptible enable_memory_snapshot block_network
        restrict_modal_access single_use_containers i6pn include_source experimental_options
        _experimental_restrict_output max_inputs""",
    "Function": """remote remote_gen local map starmap for_each spawn spawn_map
        experimental_spawn_map from_name from_id update_autoscaler autoscaler get_current_stats
        with_options with_concurrency with_batching hydrate get_web_url web_url get_dashboard_url
        info stats app object_id logs metrics is_generator""",
    "Cls": "from_name with_options with_concurrency with_batching hydrate",
    "FunctionCall": """object_id num_inputs get iter cancel get_call_graph get_dashboard_url hydrate
        logs gather from_id""",
    "Image": """debian_slim micromamba from_registry from_dockerfile from_aws_ecr
        from_gcp_artifact_registry from_scratch from_name from_id pip_install uv_pip_install uv_sync
        pip_install_from_requirements pip_install_from_pyproject pip_install_private_repos
        poetry_install_from_file micromamba_install apt_install run_commands run_function
        dockerfile_commands env workdir cmd entrypoint shell add_local_file add_local_dir
        add_local_python_source imports pipe build publish logs""",
    "Secret": "from_dict from_dotenv from_local_environ from_name update info objects",
    "Volume": """from_name from_id ephemeral commit reload listdir iterdir read_file
        read_file_into_fileobj remove_file copy_files batch_upload read_only with_mount_options
        rename objects""",
    "Dict": "from_name ephemeral get put pop update contains len keys values items clear",
    "Queue": "from_name ephemeral put put_many get get_many iterate len clear",
    "Module level": """App Function FunctionCall Cls Image Dict Queue Secret Volume method enter
        exit parameter concurrent batched fastapi_endpoint asgi_app wsgi_app web_server clustered
        sessioned Cron Period Retries SchedulerPlacement is_local current_input_id
        current_function_call_id enable_output interact forward Environment Workspace
        CloudBucketMount Client billing experimental exception LogEntry Sandbox Proxy Tunnel
        NetworkFileSystem FunctionAutoscalerSettings FunctionCurrentStats InputInfo InputStatus
        Error web_endpoint""",
    "Exceptions": """InputCancellation Error AlreadyExistsError AuthError ClientClosed
        ConnectionError DataLossError DeserializationError ExecutionError InternalError
        InternalFailure LogsFetchError NotFoundError PermissionDeniedError RequestSizeError
        ResourceExhaustedError SerializationError ServiceError SnapshotCreationError
        UnimplementedError VersionError WorkspaceManagementError InvalidError ConflictError
        RemoteError ImageBuildError TimeoutError FunctionTimeoutError OutputExpiredError
        ExecTimeoutError InteractiveTimeoutError MountUploadTimeoutError VolumeUploadTimeoutError
        SandboxTimeoutError SandboxTerminatedError SandboxFilesystemError UserCodeException
        ModuleNotMountable UserWarning DeprecationError ServerWarning AsyncUsageWarning
        InternalAPIWarning simulate_preemption""",
    "Environment variables": """MODAL_TOKEN_ID MODAL_TOKEN_SECRET MODAL_PROFILE MODAL_ENVIRONMENT
        MODAL_CONFIG_PATH MODAL_LOGLEVEL MODAL_LOGS_TIMEOUT MODAL_FORCE_BUILD MODAL_IGNORE_CACHE
        MODAL_TRACEBACK MODAL_SERVE_TIMEOUT MODAL_DEV_SUFFIX MODAL_MAX_THROTTLE_WAIT
        MODAL_PAYLOAD_FORMAT MODAL_BUILD_VALIDATION MODAL_IMAGE_BUILDER_VERSION MODAL_LOG_FORMAT
        MODAL_TASK_ID MODAL_IS_REMOTE MODAL_REGION MODAL_CLOUD_PROVIDER MODAL_IMAGE_ID
        MODAL_IDENTITY_TOKEN""",
}

#: Modal's commands; those of a group stand behind it
COMMANDS = {
    "": """run deploy serve shell setup dashboard curl changelog skills image server endpoint
        workspace""",
    "app": "list logs history rollback rollover stop info stats dashboard",
    "container": "list logs exec stop",
    "function": "info logs stats calls variants metrics",
    "function autoscaler": "settings update",
    "secret": "create list delete",
    "volume": "create list ls get put rm cp rename delete dashboard",
    "dict": "create list get items clear delete",
    "queue": "create list peek len clear delete",
    "environment": "list create update delete roles billing",
    "profile": "list current activate",
    "config": "show set-environment",
    "token": "new set info rotate",
    "billing": "report summary rates",
}


def rows(heading: str) -> Iterator[tuple[str, str]]:
    """Return (name, status) for each name in the tables below a heading."""
    text = PAGE.read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        # Rows that begin with prose speak of behaviour, not of names.
        if len(cells) == 3 and re.fullmatch(r"`\w+`(, `\w+`)*", cells[0]):
            for name in re.findall(r"`(\w+)`", cells[0]):
                yield name, cells[1]


@pytest.mark.parametrize("heading", sorted(NAMES))
def test_every_name_is_there_once_with_a_status(heading):
    listed = list(rows(heading))

    names = [name for name, _ in listed]
    assert set(NAMES[heading].split()) - set(names) == set()
    assert sorted(names) == sorted(set(names))
    assert {status for _, status in listed} <= STATUSES


def exists(heading: str, name: str) -> bool:
    """Whether there is such a name here."""
    match heading:
        case "Module level":
            return name in cloudfn.__all__ and getattr(cloudfn, name) is not None
        case "Exceptions":
            return hasattr(cloudfn.exception, name)
        case "Environment variables":
            return any(f'"{name}"' in path.read_text() for path in READERS)
        case "Arguments of App":
            return name in inspect.signature(cloudfn.App).parameters
        case "Arguments of `@app.function`":
            return _is_argument(name)
    kind: Any = getattr(cloudfn, heading)
    # Attributes that are set on instances are in the class's annotations or source.
    return bool(inspect.getattr_static(kind, name, None)) or f"self.{name}" in _source(kind)


def _is_argument(name: str) -> bool:
    if name in inspect.signature(cloudfn.App.function).parameters:
        return True
    try:
        cloudfn.App("app").function(**{name: None})
    except TypeError:
        return False
    return True


def _source(kind: type) -> str:
    ours = [base for base in kind.__mro__ if base.__module__.startswith("cloudfn.")]
    return "".join(map(inspect.getsource, ours))


@pytest.mark.parametrize("heading", sorted(NAMES))
def test_what_is_said_to_be_here_is_here(heading):
    claimed = {name for name, status in rows(heading) if status in {"same", "more", "differs"}}

    assert {name for name in claimed if not exists(heading, name)} == set()


def test_what_is_said_not_to_be_here_says_what_to_use_instead():
    absent = [name for name, status in rows("Module level") if status == "not here"]

    assert absent
    for name in absent:
        with pytest.raises(UnimplementedError) as caught:
            getattr(cloudfn, name)()
        assert caught.value.hint


def test_a_name_that_is_missing_would_be_found():
    assert not exists("App", "no_such_method")
    assert not exists("Module level", "Sandbox")
    assert not exists("Arguments of `@app.function`", "colour")


def test_every_command_is_there_once():
    listed = [" ".join(words) for words, _ in commands()]

    wanted = {f"{group} {name}".strip() for group in COMMANDS for name in COMMANDS[group].split()}
    assert wanted - set(listed) == set()
    assert sorted(listed) == sorted(set(listed))


def test_commands_are_those_that_there_are():
    from typer.main import get_command

    root: Any = get_command(build())

    for words, status in commands():
        assert known(root, words) == (status == "the same"), words


def commands() -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the words of each of Modal's commands in the page, and what is said of it."""
    section = PAGE.read_text().partition("\n## Command line\n")[2]
    for line in section.splitlines()[3:]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for text in re.findall(r"`([a-z][^`]*)`", cells[0]) if cells else []:
            *group, names = text.split(" FILE")[0].split()
            for name in names.split("\\|"):
                yield (*group, name), cells[1]


def known(root: Any, words: tuple[str, ...]) -> bool:
    """Whether there is such a command here."""
    *groups, name = words
    for word in groups:
        root = root.get_command(None, word)
    return root is not None and name in root.list_commands(None)

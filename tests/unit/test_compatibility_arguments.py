"""Each method takes the arguments that Modal's has, by the same names."""

import inspect
from typing import Any

import pytest

import cloudfn

_OPTIONS = """cpu memory gpu env secrets volumes retries max_containers buffer_containers
    scaledown_window timeout region cloud routing_region"""
_NAMED = "name environment_name create_if_missing client"
_MAP = "kwargs order_outputs return_exceptions wrap_returned_exceptions"
_PUT = "block timeout partition partition_ttl"
_AUTOSCALER = "min_containers max_containers buffer_containers scaledown_window"

#: where it is → names of Modal's arguments, as its reference has them
ARGUMENTS = {
    "App.run": "name client detach interactive environment_name",
    "App.deploy": "name environment_name tag client strategy",
    "App.lookup": _NAMED,
    "App.include": "other_app inherit_tags",
    "App.info": "refresh",
    "App.stats": "since until",
    "App.local_entrypoint": "name",
    "Function.map": _MAP,
    "Function.starmap": f"input_iterator {_MAP}",
    "Function.for_each": "kwargs ignore_exceptions",
    "Function.spawn_map": "kwargs",
    "Function.experimental_spawn_map": "kwargs",
    "Function.from_name": "app_name name version environment_name client",
    "Function.from_id": "function_id client",
    "Function.update_autoscaler": _AUTOSCALER,
    "Function.with_options": _OPTIONS,
    "Function.with_concurrency": "max_inputs target_inputs",
    "Function.with_batching": "max_batch_size wait_ms",
    "Function.info": "refresh",
    "Function.stats": "since until",
    "Cls.from_name": "app_name name version environment_name client",
    "Cls.with_options": _OPTIONS,
    "Cls.with_concurrency": "max_inputs target_inputs",
    "Cls.with_batching": "max_batch_size wait_ms",
    "FunctionCall.get": "timeout index",
    "FunctionCall.iter": "start end",
    "FunctionCall.cancel": "terminate_containers",
    "FunctionCall.from_id": "client",
    "parameter": "default init",
    "method": "is_generator",
    "enter": "snap",
    "concurrent": "max_inputs target_inputs",
    "batched": "max_batch_size wait_ms",
    "fastapi_endpoint": "method label custom_domains docs requires_proxy_auth",
    "asgi_app": "label custom_domains requires_proxy_auth",
    "wsgi_app": "label custom_domains requires_proxy_auth",
    "web_server": "port startup_timeout label custom_domains requires_proxy_auth",
    "Cron": "cron_string timezone",
    "Period": "years months weeks days hours minutes seconds",
    "Retries": "max_retries backoff_coefficient initial_delay max_delay",
    "Image.debian_slim": "python_version force_build",
    "Image.micromamba": "python_version force_build",
    "Image.from_registry": "tag secret setup_dockerfile_commands force_build add_python",
    "Image.from_dockerfile": """path force_build context_dir ignore build_args registry_secret
        secrets env gpu add_python""",
    "Image.from_aws_ecr": "tag secret",
    "Image.pip_install": """find_links index_url extra_index_url pre extra_options force_build env
        secrets gpu""",
    "Image.uv_pip_install": "requirements uv_version",
    "Image.uv_sync": "uv_project_dir groups extras frozen extra_options uv_version",
    "Image.pip_install_from_requirements": "find_links",
    "Image.pip_install_from_pyproject": "optional_dependencies",
    "Image.pip_install_private_repos": "git_user",
    "Image.poetry_install_from_file": "ignore_lockfile with_ without only poetry_version",
    "Image.micromamba_install": "spec_file channels",
    "Image.run_commands": "env secrets volumes gpu force_build",
    "Image.run_function": """raw_f env secrets volumes gpu cpu memory timeout cloud region
        force_build args kwargs include_source""",
    "Image.dockerfile_commands": "context_files context_dir ignore build_args",
    "Image.add_local_file": "copy",
    "Image.add_local_dir": "copy ignore",
    "Image.add_local_python_source": "copy ignore",
    "Secret.from_dotenv": "path filename",
    "Secret.from_name": "name environment_name required_keys",
    "Volume.from_name": f"{_NAMED} version create_options",
    "Volume.listdir": "path recursive",
    "Volume.iterdir": "path recursive",
    "Volume.remove_file": "path recursive",
    "Volume.copy_files": "recursive",
    "Volume.batch_upload": "force",
    "Volume.with_mount_options": "read_only sub_path",
    "Dict.from_name": _NAMED,
    "Dict.get": "key default",
    "Dict.put": "key value skip_if_exists",
    "Dict.pop": "key default",
    "Dict.update": "other",
    "Queue.from_name": _NAMED,
    "Queue.put": f"v {_PUT}",
    "Queue.put_many": _PUT,
    "Queue.get": "block timeout partition",
    "Queue.get_many": "block timeout partition",
    "Queue.iterate": "partition item_poll_timeout",
    "Queue.len": "partition total",
    "Queue.clear": "partition all",
    "exception.simulate_preemption": "wait_seconds jitter_seconds",
}


@pytest.mark.parametrize("where", sorted(ARGUMENTS))
def test_a_method_takes_modals_arguments(where):
    parameters = inspect.signature(plain(where)).parameters

    assert set(ARGUMENTS[where].split()) - set(parameters) == set()


def plain(where: str) -> Any:
    """Return the function behind a name, below what makes a class method or twins of it."""
    owner, _, name = where.rpartition(".")
    found: Any = getattr(cloudfn, name, None)
    if owner:
        found = inspect.getattr_static(getattr(cloudfn, owner), name)
    for attribute in ("__func__", "_steps", "_method"):
        found = getattr(found, attribute, found)
    return found

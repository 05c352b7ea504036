"""What `with_options` and its relatives accept: checked at once, as the plain data of a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.model.function import FunctionSpec, declared_resources
from cloudfn.model.gpu import parse_gpu, parse_gpu_memory
from cloudfn.model.retry import parse_retries
from cloudfn.model.variant import Variant, served
from cloudfn.sdk.declaration import check_unavailable, variables
from cloudfn.sdk.supplies import supplies_of

if TYPE_CHECKING:
    from cloudfn.model.retry import Retries


def declared_options(  # noqa: PLR0913 - one for each option
    *,
    cpu: float | tuple[float, float] | None = None,
    memory: int | tuple[int, int] | None = None,
    gpu: str | None = None,
    gpu_memory: int | None = None,
    env: Mapping[str, str | None] | None = None,
    secrets: Sequence[Any] | None = None,
    volumes: Mapping[Any, Any] | None = None,
    retries: int | Retries | None = None,
    max_containers: int | None = None,
    buffer_containers: int | None = None,
    scaledown_window: int | None = None,
    timeout: int | None = None,
    region: str | Sequence[str] | None = None,
    cloud: str | None = None,
    routing_region: str | None = None,
) -> dict[str, Any]:
    """Return what differs from a declaration; None leaves it as it is.

    Secrets and volumes are not plain data yet: the engine has to be told of them.

    Raises:
        InvalidError: A value makes no sense; the text names it.
        UnimplementedError: Something was asked for that does not exist yet, or not here.
    """
    check_unavailable(
        {"region": region, "cloud": cloud, "routing_region": routing_region}, "with_options()"
    )
    options: dict[str, Any] = {}
    resources = declared_resources(cpu, memory)
    if cpu is not None:
        options["cpu"] = [resources.cpu, resources.cpu_limit]
    if memory is not None:
        options["memory"] = [resources.memory, resources.memory_limit]
    if gpu is not None:
        options["gpu"] = list(parse_gpu(gpu))
    if gpu_memory is not None:
        options["gpu_memory"] = parse_gpu_memory(gpu_memory)
    if env is not None:
        options["env"] = variables(env)
    policy = parse_retries(retries)
    if policy is not None:
        options["retries"] = policy.to_json()
    plain = {
        "max_containers": max_containers,
        "buffer_containers": buffer_containers,
        "scaledown_window": scaledown_window,
        "timeout": timeout,
    }
    options |= {name: value for name, value in plain.items() if value is not None}
    # Whether a part of a GPU makes sense depends on what it is a variant of.
    served(FunctionSpec("any", "", "", gpu=("ANY",)), Variant(options=options))
    if secrets is not None:
        options["secrets"] = supplies_of(secrets, None, "with_options()")
    if volumes is not None:
        options["volumes"] = supplies_of(None, volumes, "with_options()")
    return options


def concurrency_option(max_inputs: int, target_inputs: int | None) -> dict[str, Any]:
    """Return what `with_concurrency` says.

    Raises:
        InvalidError: A value makes no sense.
    """
    return {"concurrency": asdict(Concurrency(max_inputs, target_inputs))}


def batching_option(max_batch_size: int, wait_ms: int) -> dict[str, Any]:
    """Return what `with_batching` says.

    Raises:
        InvalidError: A value makes no sense.
    """
    return {"batching": asdict(Batching(max_batch_size, wait_ms))}

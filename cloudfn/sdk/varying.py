"""`with_options`, `with_concurrency`, `with_batching`: for Functions and classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudfn.errors import InvalidError

if TYPE_CHECKING:
    from cloudfn.model.retry import Retries


class Varying(ABC):
    """What has variants: with other options, and a pool of its own for each."""

    @abstractmethod
    def varied(self, options: Mapping[str, Any]) -> Any:
        """Return a variant with these options, plain data, on top of those that there are."""

    def with_options(  # noqa: PLR0913 - one for each option
        self,
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
    ) -> Any:
        """Return a variant with other options and containers of its own; this one stays as it is.

        Variants of variants have the options of both, the later ones first. `min_containers` is
        not inherited: use `update_autoscaler`.

        Raises:
            InvalidError: A value makes no sense; the text names it.
            UnimplementedError: Something was asked for that does not exist yet, or not here.
        """
        from cloudfn.sdk.options import declared_options

        return self.varied(
            declared_options(
                cpu=cpu,
                memory=memory,
                gpu=gpu,
                gpu_memory=gpu_memory,
                env=env,
                secrets=secrets,
                volumes=volumes,
                retries=retries,
                max_containers=max_containers,
                buffer_containers=buffer_containers,
                scaledown_window=scaledown_window,
                timeout=timeout,
                region=region,
                cloud=cloud,
                routing_region=routing_region,
            )
        )

    def with_concurrency(self, *, max_inputs: int, target_inputs: int | None = None) -> Any:
        """Return a variant whose containers run several inputs at once; see `concurrent`."""
        from cloudfn.sdk.options import concurrency_option

        return self.varied(concurrency_option(max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: int) -> Any:
        """Return a variant that collects inputs to batches; see `batched`."""
        from cloudfn.sdk.options import batching_option

        return self.varied(batching_option(max_batch_size, wait_ms))


def version_option(version: object) -> dict[str, Any]:
    """Return what a variant that is pinned to a revision differs by.

    Raises:
        InvalidError: It is no number of a revision.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidError(
            f"`version` must be the number of a revision, not {version!r}.",
            hint="`cloudfn app history APP` shows them.",
        )
    return {"version": version}

"""What a Function's containers get from the engine: declared here, named when the App is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cloudfn.errors import InvalidError
from cloudfn.sdk.client import Client
from cloudfn.sdk.twins import Steps

if TYPE_CHECKING:
    from cloudfn.model.function import FunctionSpec
    from cloudfn.model.secret import SecretRef
    from cloudfn.model.volume import VolumeMount
    from cloudfn.sdk.secrets import Secret
    from cloudfn.sdk.volumes import Volume


class Supplies(NamedTuple):
    """Secrets of a Function, in their order, and its volumes by path."""

    secrets: tuple[Secret, ...] = ()
    volumes: tuple[tuple[str, Volume], ...] = ()

    def joined(self, others: Supplies) -> Supplies:
        """Return these with others, which come later."""
        return Supplies(
            self.secrets + others.secrets,
            tuple({**dict(self.volumes), **dict(others.volumes)}.items()),
        )

    def named(self, spec: FunctionSpec, engine: Client) -> Steps[FunctionSpec]:
        """Return a spec that names them, having given to the engine what has no name.

        Raises:
            InvalidError: A volume is mounted twice.
            NotFoundError: There is no volume of a name.
        """
        refs = yield from self.refs(engine)
        return replace(spec, secrets=refs, volumes=(yield from self.mounts(engine, spec.name)))

    def refs(self, engine: Client) -> Steps[tuple[SecretRef, ...]]:
        """Return references to the secrets, having given to the engine what has no name."""
        refs: tuple[SecretRef, ...] = ()
        for secret in self.secrets:
            refs += ((yield from secret.ref(engine)),)
        return refs

    def mounts(self, engine: Client, function: str) -> Steps[tuple[VolumeMount, ...]]:
        """Return the mounts of the volumes; raises as `named` does."""
        mounts: tuple[VolumeMount, ...] = ()
        for path, volume in self.volumes:
            mount = yield from volume.mounted(engine, path)
            if any(other.object_id == mount.object_id for other in mounts):
                raise InvalidError(
                    f"The function {function} mounts the volume {mount.name or mount.object_id} "
                    "at two paths.",
                    hint="Mount it once, and use a symbolic link for the other path.",
                )
            mounts += (mount,)
        return mounts


def supplies_of(
    secrets: Collection[Secret] | None, volumes: Mapping[str, Volume] | None, what: str
) -> Supplies:
    """Return what was declared.

    Raises:
        InvalidError: Something else than a Secret or a Volume was given, or a path makes no sense.
    """
    return Supplies(
        _secrets(secrets, what) if secrets else (), _volumes(volumes, what) if volumes else ()
    )


def _secrets(secrets: Collection[Secret], what: str) -> tuple[Secret, ...]:
    from cloudfn.sdk.secrets import Secret

    if isinstance(secrets, Secret | str) or not isinstance(secrets, Collection):
        raise InvalidError(
            f"`secrets` of {what} must be a list of Secrets, not {type(secrets).__name__}."
        )
    for each in secrets:
        if not isinstance(each, Secret):
            raise InvalidError(
                f"`secrets` of {what} must hold Secrets, not {type(each).__name__}.",
                hint="Use cloudfn.Secret.from_name, from_dict, from_dotenv or from_local_environ.",
            )
    return tuple(secrets)


def _volumes(volumes: Mapping[str, Volume], what: str) -> tuple[tuple[str, Volume], ...]:
    from cloudfn.model.volume import check_mount_path
    from cloudfn.sdk.volumes import Volume

    if not isinstance(volumes, Mapping):
        raise InvalidError(
            f"`volumes` of {what} must map paths to Volumes, not be a {type(volumes).__name__}."
        )
    mounted: dict[str, Volume] = {}
    for path, volume in volumes.items():
        plain = check_mount_path(str(path))
        if not isinstance(volume, Volume):
            raise InvalidError(
                f"`volumes` of {what} must hold Volumes, not {type(volume).__name__} at {path}.",
                hint="Use cloudfn.Volume.from_name.",
            )
        if any(f"{plain}/".startswith(f"{o}/") or f"{o}/".startswith(f"{plain}/") for o in mounted):
            raise InvalidError(
                f"Two volumes of {what} are mounted inside each other, at {plain}.",
                hint="Give each a place outside the others.",
            )
        mounted[plain] = volume
    return tuple(mounted.items())

"""Secrets as clients and containers need them: kept by name or by content, and never told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cloudfn.control.operations import Fields
from cloudfn.control.stores.registry import Registry
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.image import ImageSpec
from cloudfn.model.secret import SecretRef
from cloudfn.providers.objects import ObjectKind
from cloudfn.providers.secrets import Secrets
from cloudfn.wire.frames import derive_key
from cloudfn.wire.messages import encode_json

_PREFIX = ObjectKind.SECRET.value
#: bytes of all names and values of one secret
_LARGEST = 64 << 10
#: seconds that a secret without a name is kept for the app that was just declared with it
_SETTLING = 600.0


class SecretDesk:
    """Keeps secrets and gives containers theirs.

    Args:
        secrets: Where they lie.
        registry: Names of those that have one.
        key: Returns the environment's key: the id of a secret without a name tells nothing to
            others.
    """

    def __init__(self, secrets: Secrets, registry: Registry, key: Callable[[], bytes]) -> None:
        self._secrets = secrets
        self._registry = registry
        self._key = key

    def create(self, fields: Fields, now: float) -> Fields:
        """Make a secret with a name; `mode`: new (must be), keep (leave one alone), replace."""
        values, mode = _checked(fields["values"]), fields.get("mode") or "new"
        kind = ObjectKind.SECRET.noun
        told = self._registry.open({**_named(fields), "kind": kind, "exist_ok": mode != "new"}, now)
        is_new = told["object_id"] == fields["object_id"]
        if is_new or mode == "replace":
            self._secrets.write(told["object_id"], values, now)
        return told

    def update(self, fields: Fields, now: float) -> Fields:
        """Set variables of a secret with a name; null removes one."""
        secret_id = self._registry.record(fields["object_id"], ObjectKind.SECRET).object_id
        known = self._secrets.read([secret_id])[0] or {}
        changes = fields["values"]
        removed = {name for name, value in changes.items() if value is None}
        merged = {**known, **{name: v for name, v in changes.items() if v is not None}}
        kept = {name: value for name, value in merged.items() if name not in removed}
        self._secrets.write(secret_id, _checked(kept), now)
        return {}

    def store(self, fields: Fields, now: float) -> Fields:
        """Keep a secret without a name; its id follows from what it holds.

        With `keep` false only that is told.
        """
        values = _checked(fields["values"])
        digest = derive_key(self._key(), b"secret ids", encode_json(dict(sorted(values.items()))))
        secret_id = f"{_PREFIX}-{digest.hex()[:32]}"
        if fields.get("keep", True):
            self._secrets.write(secret_id, values, now)
        return {"object_id": secret_id}

    def check(self, functions: Iterable[FunctionSpec], *, unnamed: bool = True) -> None:
        """Raise NotFoundError or InvalidError where a function names what there is not.

        Args:
            functions: They name secrets.
            unnamed: Secrets without a name are there by now as well.
        """
        for function in functions:
            for ref in function.secrets if unnamed else filter(_is_named, function.secrets):
                _check_keys(ref, self._values(ref), f"function {function.name}")

    def variables(self, refs: Iterable[SecretRef]) -> dict[str, str]:
        """Return what containers get; later secrets override earlier ones.

        Raises:
            NotFoundError: A secret is gone.
        """
        found: dict[str, str] = {}
        for ref in refs:
            found |= self._values(ref)
        return found

    def of_image(self, spec: ImageSpec) -> dict[SecretRef, dict[str, str]]:
        """Return what the build of an image gets of each secret that it names.

        Raises:
            InvalidError: One lacks required keys.
            NotFoundError: One is gone.
        """
        found = {ref: self._values(ref) for ref in spec.secrets}
        for ref, values in found.items():
            _check_keys(ref, values, "an image")
        return found

    def sweep(self, used: set[str], now: float) -> None:
        """Delete secrets without a name that nobody uses."""
        unused = [
            secret_id
            for secret_id, written in self._secrets.list().items()
            if secret_id not in used
            and written <= now - _SETTLING
            and not self._registry.knows(secret_id)
        ]
        if unused:
            self._secrets.delete(unused)

    def _values(self, ref: SecretRef) -> dict[str, str]:
        secret_id = ref.object_id
        if ref.name:
            told = {"kind": ObjectKind.SECRET.noun, "name": ref.name}
            secret_id = self._registry.open(told, 0.0)["object_id"]
        values = self._secrets.read([secret_id])[0]
        if values is None:
            raise NotFoundError(
                f"The secret {ref} is gone.", hint="Create it again, or deploy the app again."
            )
        return values


def _check_keys(ref: SecretRef, values: Mapping[str, str], whose: str) -> None:
    missing = [key for key in ref.required_keys if key not in values]
    if missing:
        raise InvalidError(
            f"The secret {ref} of {whose} lacks required keys: {', '.join(missing)}.",
            hint="Add them with `Secret.update`, or create it again with --force.",
        )


def _is_named(ref: SecretRef) -> bool:
    return bool(ref.name)


def _named(fields: Fields) -> Fields:
    if not fields.get("name"):
        raise InvalidError("A secret needs a name.", hint="Use `Secret.from_dict` for one without.")
    return {"name": fields["name"], "object_id": fields["object_id"]}


def _checked(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables; an error never shows a value."""
    for name, value in values.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidError(
                f"{name!r} is no name of a variable.",
                hint="Use letters, digits and underscores, with no digit first.",
            )
        if not isinstance(value, str) or "\0" in value:
            raise InvalidError(f"The value of {name} is not text.")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in values.items())
    if size > _LARGEST:
        raise InvalidError(
            f"A secret of {size} bytes; at most {_LARGEST} are kept.",
            hint="Put files into a Volume.",
        )
    return dict(values)

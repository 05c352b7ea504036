"""Functions that are bound: the methods of an instance of a class, and variants of a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cloudfn.errors import NotFoundError, SerializationError
from cloudfn.model.cls import PARAMETER_TYPES, ClsSpec, cls_name, shown_name
from cloudfn.model.variant import Variant, complete
from cloudfn.sdk.client import Client
from cloudfn.sdk.function import Function
from cloudfn.sdk.twins import Steps

if TYPE_CHECKING:
    from cloudfn.sdk.target import Target


class Binding:
    """Parameters and options for a Function; the engine is asked for the variant on first use.

    Args:
        base: The function or class.
        values: Of a class, the parameters that were given.
        options: What differs from the declaration, as plain data.
        spec: The class, where `base` does not know it.
        bound_id: The variant, where it is known.
    """

    def __init__(
        self,
        base: Function,
        values: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        spec: ClsSpec | None = None,
        bound_id: str | None = None,
    ) -> None:
        self.base = base
        self._values = dict(values)
        self._options = dict(options)
        self._spec = spec
        self._bound_id = bound_id
        self._of = base.known_id if bound_id else None

    @property
    def cls(self) -> ClsSpec | None:
        """What is known of the class; None for a function, and before a class was looked up."""
        return self._spec or self.base.cls_spec

    @property
    def known_id(self) -> str | None:
        """The id of the variant, where it is known; it is not any more when its App ended."""
        return self._bound_id if self._of == self.base.known_id else None

    def varied(self, options: Mapping[str, Any]) -> Binding:
        """Return the same with more options, which go before those that there are."""
        return Binding(self.base, self._values, {**self._options, **options}, spec=self._spec)

    def resolve(self) -> Steps[str]:
        """Return the id of the variant.

        Raises:
            InvalidError: A parameter is missing or unknown, or an option makes no sense.
            TypeError: A parameter has another type than it was declared with.
            ValueError: A parameter cannot be pickled.
        """
        known = self.known_id
        if known is not None:
            return known
        target = yield from self.base.target()
        values = {}
        cls = self.cls
        if cls is not None:
            _check_pickles(self._values)
            values = complete(cls, self._values, cls_name(self.base.name) or self.base.name)
        if not values and not self._options:
            bound = target.function_id
        else:
            options = yield from self._plain_options(target.client)
            bound = yield from self._registered(target, Variant(values, options))
        self._bound_id, self._of = bound, target.function_id
        return bound

    def _registered(self, target: Target, variant: Variant) -> Steps[str]:
        """Return the id of a variant; the engine is told of each one once."""
        known = self.base.variants
        wanted = variant.id_for(target.function_id)
        if wanted not in known:
            told = yield from target.client.ask(
                "function_bind",
                function_id=target.function_id,
                parameters=variant.parameters,
                options=variant.options,
            )
            known[wanted] = told["function_id"]
        return known[wanted]

    def _plain_options(self, client: Client) -> Steps[dict[str, Any]]:
        options = dict(self._options)
        if "secrets" in options:
            refs = yield from options["secrets"].refs(client)
            options["secrets"] = [asdict(ref) for ref in refs]
        if "volumes" in options:
            mounts = yield from options["volumes"].mounts(client, self.base.name)
            options["volumes"] = [asdict(mount) for mount in mounts]
        return options

    def __reduce__(self) -> tuple[Any, ...]:
        return _binding, (self.base, self._values, self._options, self.cls, self.known_id)


class BoundFunction(Function):
    """A Function with the pool of a binding.

    Args:
        binding: Says which one.
        name: Its name.
        method: The method that is called, of a class.
    """

    def __init__(self, binding: Binding, name: str, *, method: str | None = None) -> None:
        super().__init__(name)
        self._binding = binding
        self._method = method
        self._note_generator()

    @property
    def app(self) -> Any:
        """The App that the function is defined on."""
        return self._binding.base.app

    @property
    def object_id(self) -> str:
        """The id of the variant, once it is known to the engine.

        Raises:
            ExecutionError: It is not.
        """
        known = self.known_id
        if known is None:
            raise self._unhydrated()
        return known

    @property
    def known_id(self) -> str | None:
        """The id of the variant, or None."""
        return self._binding.known_id

    @property
    def is_hydrated(self) -> bool:
        """Whether the engine knows the variant, as far as we know."""
        return self.known_id is not None

    def is_reachable(self) -> bool:
        """Whether there may be something to call."""
        return self._binding.base.is_reachable()

    def target(self) -> Steps[Target]:
        """Return what a call is aimed at; the engine is asked on first use."""
        from cloudfn.sdk.target import Target, parent, pickle_context

        base = self._binding.base
        function_id = self._binding.known_id
        if function_id is None:
            function_id = yield from self._resolved()
        # Handles of calls ask the same engine.
        self._client = base.engine()
        return Target(
            self._client, function_id, pickle_context(base.module), parent(), self._method
        )

    def engine(self) -> Client:
        """Return the engine that the function lives in."""
        return self._binding.base.engine()

    def get_raw_f(self) -> Callable[..., Any]:
        """Return the user's own function."""
        return self._binding.base.get_raw_f()

    def varied(self, options: Mapping[str, Any]) -> Function:
        """Return a variant with these options on top of those that there are."""
        return BoundFunction(self._binding.varied(options), self.name)

    def hydrated(self, client: Client | None) -> Steps[None]:
        """Look the function up, with another client where one is given."""
        yield from self._binding.base.hydrated(client)
        yield from self.target()

    def _log_scope(self) -> Steps[tuple[Client, dict[str, Any]]]:
        base = self._binding.base
        target = yield from self.target()
        return target.client, {"app": base.app_id, "function": shown_name(base.name)}

    def _resolved(self) -> Steps[str]:
        if not self._binding.base.is_reachable():
            raise self._unhydrated()
        function_id = yield from self._binding.resolve()
        self._note_generator()
        cls = self._binding.cls
        if self._method is not None and cls is not None and self._method not in cls.methods:
            known = ", ".join(sorted(cls.methods)) or "none"
            raise NotFoundError(
                f"The class {cls_name(self._binding.base.name)} has no method {self._method!r}.",
                hint=f"Its methods are: {known}.",
            )
        return function_id

    def _note_generator(self) -> None:
        cls = self._binding.cls
        if self._method is None:
            self._is_generator = self._binding.base.known_generator
            self._is_web = self._binding.base.is_web
        else:
            spec = cls.methods.get(self._method) if cls else None
            self._is_generator = spec.is_generator if spec else None
            self._is_web = bool(spec and spec.is_web)

    def __reduce__(self) -> tuple[Any, ...]:
        return BoundFunction, (self._binding, self.name)


def _check_pickles(values: Mapping[str, Any]) -> None:
    from cloudfn.wire import codec

    for name, value in values.items():
        if isinstance(value, tuple(PARAMETER_TYPES.values())):
            continue
        try:
            codec.dumps(value, codec.PickleContext(None))
        except SerializationError:
            raise ValueError(
                "Only pickle-able types are allowed in remote class constructors: argument "
                f"{name} of type {type(value)}."
            ) from None


def _binding(
    base: Function,
    values: dict[str, Any],
    options: dict[str, Any],
    spec: ClsSpec | None,
    bound_id: str | None,
) -> Binding:
    return Binding(base, values, options, spec=spec, bound_id=bound_id)

"""The Cls: what a decorated class becomes, and the handle of a deployed one; and its instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cloudfn.errors import ExecutionError, InvalidError
from cloudfn.model import cls as rules
from cloudfn.model.variant import base_id
from cloudfn.sdk.bound import Binding, BoundFunction
from cloudfn.sdk.client import Client, current_settings
from cloudfn.sdk.cls_declaration import check_class, declare_class
from cloudfn.sdk.declaration import Body, parameters_of
from cloudfn.sdk.function import Function
from cloudfn.sdk.local_instance import LocalInstance
from cloudfn.sdk.slots import batching_of
from cloudfn.sdk.twins import Steps, twin
from cloudfn.sdk.varying import Varying, version_option

if TYPE_CHECKING:
    from cloudfn.model.concurrency import Batching
    from cloudfn.sdk.records import FunctionAutoscalerSettings, FunctionCurrentStats

#: attribute of an instance of the user's own class: the Obj that it belongs to
_OBJ = "__cloudfn_obj__"


class Cls(Varying):
    """A class whose methods run in containers; call it with its parameters for an instance.

    Args:
        name: Its name in its App.
        base: All its methods, as one Function.
        user_cls: The user's own class; None where only its name is known.
        options: What differs from the declaration, as plain data.
    """

    def __init__(
        self,
        name: str,
        base: Function,
        *,
        user_cls: type[Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.__cloudfn_raw__ = user_cls
        self.__name__ = name
        self.__module__ = getattr(user_cls, "__module__", None) or __name__
        self.__doc__ = getattr(user_cls, "__doc__", None)
        self._base = base
        self._options = dict(options or {})

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: Client | None = None,
    ) -> Cls:
        """Return the handle of a deployed class; looked up when it is first used.

        Args:
            app_name: The app's name.
            name: The class's.
            version: The number of a revision to stay with, whichever is live.
            environment_name: Another environment than the one that is set.
            client: The engine; the environment's when omitted.

        Raises:
            InvalidError: The version is no number.
        """
        base = Function.named(
            app_name,
            rules.function_name(name),
            environment_name=environment_name,
            client=client,
        )
        found = cls(name, base)
        return found if version is None else found.varied(version_option(version))

    @twin
    def hydrate(self, client: Client | None = None) -> Steps[Cls]:
        """Look the class up now, rather than on first use."""
        yield from self._base.hydrated(client)
        return self

    def varied(self, options: Mapping[str, Any]) -> Cls:
        """Return the class with these options on top of those that there are."""
        return Cls(
            self.__name__,
            self._base,
            user_cls=self.__cloudfn_raw__,
            options={**self._options, **options},
        )

    def __call__(self, /, **parameters: Any) -> Obj:
        """Return an instance with these parameters; that costs nothing, and asks nobody."""
        return Obj(self, self._base, parameters, self._options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        user_cls = self.__cloudfn_raw__
        if user_cls is not None and name not in rules.methods(user_cls):
            return getattr(user_cls, name)
        return _Uninstantiated(self.__name__, name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type[Any], ...]:
        if self.__cloudfn_raw__ is None:
            raise _undefined(self.__name__)
        return (self.__cloudfn_raw__,)

    def __repr__(self) -> str:
        return f"<Cls {self.__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _cls, (self.__name__, self._base, self._options)


class Obj:
    """An instance of a Cls: its methods are Functions, all else is that of a local instance."""

    def __init__(
        self,
        cls: Cls,
        base: Function,
        parameters: Mapping[str, Any],
        options: Mapping[str, Any],
        binding: Binding | None = None,
    ) -> None:
        self._cls = cls
        self._parameters = dict(parameters)
        self._binding = binding or Binding(base, parameters, options)
        self._methods: dict[str, Method] = {}
        self._local: LocalInstance | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = self._methods.get(name)
        if method is not None:
            return method
        user_cls = self._cls.__cloudfn_raw__
        if user_cls is not None and name not in rules.methods(user_cls):
            return getattr(self._here().instance, name)
        method = self._methods[name] = Method(
            self._binding, f"{self._cls.__name__}.{name}", name, self._call_here
        )
        return method

    @twin
    def update_autoscaler(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: int | None = None,
    ) -> Steps[FunctionAutoscalerSettings]:
        """Change how the containers with these parameters scale; see `Function`.

        Raises:
            InvalidError: The settings make no sense together; nothing is changed then.
        """
        return (
            yield from self._service().change_settings(
                min_containers=min_containers,
                max_containers=max_containers,
                buffer_containers=buffer_containers,
                scaledown_window=scaledown_window,
            )
        )

    @twin
    def get_current_stats(self) -> Steps[FunctionCurrentStats]:
        """Return how many inputs and containers these parameters have right now."""
        return (yield from self._service().current_stats())

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._parameters.items())
        return f"<Obj {self._cls.__name__}({values})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _obj, (self._cls, self._parameters, self._binding)

    def _service(self) -> BoundFunction:
        return BoundFunction(self._binding, self._cls.__name__)

    def _here(self) -> LocalInstance:
        if self._local is None:
            user_cls = self._cls.__cloudfn_raw__
            if user_cls is None:
                raise _undefined(self._cls.__name__)
            spec = declare_class(user_cls)
            self._local = LocalInstance(user_cls, spec, self._parameters)
            vars(self._local.instance)[_OBJ] = self
        return self._local

    def _call_here(self, name: str) -> Callable[..., Any]:
        return self._here().method(name)


class Method(BoundFunction):
    """A method of an instance, as a Function.

    Args:
        binding: The instance.
        name: The name of class and method.
        method: The method's own.
        local: Returns what `.local(…)` calls, by the method's name.
    """

    def __init__(
        self,
        binding: Binding,
        name: str,
        method: str,
        local: Callable[[str], Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(binding, name, method=method)
        self._method_name = method
        self._local = local

    def local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the method right here, on a local instance whose enter hooks were run, once."""
        return self.get_raw_f()(*args, **kwargs)

    def get_raw_f(self) -> Callable[..., Any]:
        """Return the user's own method, bound to a local instance.

        Raises:
            ExecutionError: Only its name is known here.
        """
        if self._local is None:
            raise _undefined(self.name)
        return self._local(self._method_name)

    def update_settings(self, _changes: dict[str, int | None]) -> Steps[FunctionAutoscalerSettings]:
        """Refuse: the methods of an instance share its containers."""
        raise InvalidError(
            f"Cannot update the autoscaler of the method {self.name}. Call it on the class "
            "instance instead.",
            hint="All methods share the instance's containers: `obj.update_autoscaler(…)`.",
        )

    def varied(self, _options: Mapping[str, Any]) -> Function:
        """Refuse: options are those of the class."""
        raise InvalidError(
            f"The method {self.name} cannot have options of its own.",
            hint="Use `with_options` and its relatives on the class.",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Method, (self._binding, self.name, self._method_name)


class MethodDescriptor:
    """Stands in the user's own class for a method, so that `self.other` is a Function as well."""

    def __init__(self, function: Callable[..., Any], name: str, base: Function) -> None:
        self.__cloudfn_raw__ = function
        self.__doc__ = getattr(function, "__doc__", None)
        self.name = name
        self.base = base

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        plain = self.__cloudfn_raw__.__get__(instance, owner)
        if rules.members(type(instance))[self.name] is not self:
            return plain  # by way of `super()`
        obj = getattr(instance, "__dict__", {}).get(_OBJ)
        if obj is not None:
            return getattr(obj, self.name)
        container = current_settings().container
        if container is None or not container.function_id:
            return plain
        name = f"{rules.cls_name(self.base.name)}.{self.name}"
        return Method(self._own_binding(container.function_id, container.app_id), name, self.name,
                      lambda _name: plain)  # fmt: skip

    def _own_binding(self, function_id: str, app_id: str) -> Binding:
        """Return the binding of the container that runs here: its calls go to its own pool."""
        base = Function(self.base.name)
        base.bind(base_id(function_id), app_id, self.base.module or "", None, None)
        return Binding(base, {}, {}, spec=self.base.cls_spec, bound_id=function_id)


class _Uninstantiated:
    """A method looked for on the class itself."""

    def __init__(self, cls: str, method: str) -> None:
        self._cls = cls
        self._method = method

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{self._cls}.{self._method} is a method of an instance, and has no {name!r} here. "
            "Did you forget to instantiate the class first? "
            f"Write {self._cls}().{self._method}.{name}(…)."
        )


def class_body(user_cls: Any, *, serialized: bool) -> Body:
    """Return what a decorated class is, and make its methods Functions.

    Raises:
        TypeError: It is no class.
        InvalidError: Something in it makes no sense.
    """
    check_class(user_cls, serialized=serialized)
    rules.mark_places(user_cls)
    known = [rules.raw(member) for member in rules.members(user_cls).values()]
    batching = _batching(user_cls, known)
    return Body(
        user_cls,
        rules.function_name(user_cls.__name__),
        is_async=any(rules.is_coroutine_function(each) for each in known),
        cls=declare_class(user_cls),
        batching=batching,
    )


def _batching(user_cls: type[Any], members: list[Any]) -> Batching | None:
    """Return that of the one method that takes batches, and note that it is a method."""
    batched = [each for each in members if batching_of(each) is not None]
    if not batched:
        return None
    for each in batched:
        if rules.method_of(each) is None:
            is_async = rules.is_coroutine_function(each)
            spec = rules.MethodSpec(is_async=is_async, parameters=parameters_of(each))
            rules.mark_method(each, spec)
    if len(rules.methods(user_cls)) > 1:
        raise InvalidError(
            f"The class {user_cls.__name__} has a method with `@batched`, and other methods.",
            hint="Make a class of its own for the batched method.",
        )
    return batching_of(batched[0])


def adopt(user_cls: type[Any], instance: Any, parameters: dict[str, Any]) -> None:
    """Let the methods of an instance that somebody else made be Functions inside of it."""
    descriptors = [m for m in vars(user_cls).values() if isinstance(m, MethodDescriptor)]
    if not descriptors:
        return
    base = descriptors[0].base
    cls = Cls(user_cls.__name__, base, user_cls=user_cls)
    values = rules.decoded(parameters)
    obj = Obj(cls, base, values, {})
    obj._local = LocalInstance(user_cls, declare_class(user_cls), values, instance)  # noqa: SLF001
    vars(instance)[_OBJ] = obj


def cls_of(user_cls: type[Any], base: Function) -> Cls:
    """Return the Cls of a declared class."""
    members = rules.members(user_cls)
    for name in rules.methods(user_cls):
        setattr(user_cls, name, MethodDescriptor(rules.raw(members[name]), name, base))
    return Cls(user_cls.__name__, base, user_cls=user_cls)


def _undefined(name: str) -> ExecutionError:
    return ExecutionError(
        f"The definition of {name} is missing here: only its name is known.",
        hint="Use `.remote(…)`, or import the module that defines it.",
    )


def _cls(name: str, base: Function, options: dict[str, Any]) -> Cls:
    return Cls(name, base, options=options)


def _obj(cls: Cls, parameters: dict[str, Any], binding: Binding) -> Obj:
    return Obj(cls, binding.base, parameters, {}, binding)

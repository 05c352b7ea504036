"""Methods of classes as `cloudfn run` runs them: parameters and arguments in one signature."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from cloudfn.model import cls as rules
from cloudfn.sdk.cls import Cls, Method
from cloudfn.sdk.cls_declaration import declare_class
from cloudfn.sdk.entrypoint import UsageError


class MethodTarget:
    """A method of a class that has no instance yet."""

    def __init__(self, cls: Cls, method: str) -> None:
        self._cls = cls
        self._method = method
        self.__module__ = cls.__module__

    @property
    def is_generator(self) -> bool:
        """Whether the method yields."""
        return methods_of(self._cls)[self._method].is_generator

    def get_raw_f(self) -> Callable[..., Any]:
        """Return a function with the parameters of class and method, for their options and help.

        Raises:
            UsageError: Class and method have a parameter of one name.
        """
        user_cls = self._cls.__cloudfn_raw__
        assert user_cls is not None
        function = rules.raw(rules.members(user_cls)[self._method])
        own = list(signature(function).parameters.values())[1:]
        spec = declare_class(user_cls)
        values = rules.decoded(
            {name: each.default for name, each in spec.parameters.items() if not each.required}
        )
        shared = sorted({each.name for each in own} & spec.parameters.keys())
        if shared:
            raise UsageError(
                f"{self._cls.__name__} and its method {self._method} both have a parameter "
                f"`{shared[0]}`; call it from a local entry point.",
                1,
            )
        of_class = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=values.get(name, Parameter.empty),
                annotation=rules.PARAMETER_TYPES[each.type],
            )
            for name, each in spec.parameters.items()
        ]
        extra = [each for each in own if each.kind is Parameter.VAR_KEYWORD]
        plain = [each for each in own if each.kind is not Parameter.VAR_KEYWORD]

        def combined() -> None: ...

        combined.__doc__ = function.__doc__
        # Annotations that are text are looked up where the method is defined.
        combined.__wrapped__ = function  # type: ignore[attr-defined]
        combined.__signature__ = Signature([*plain, *of_class, *extra])  # type: ignore[attr-defined]
        return combined

    def instance(self, given: dict[str, Any]) -> tuple[Method, dict[str, Any]]:
        """Return the method of an instance with the parameters among `given`, and the rest."""
        user_cls = self._cls.__cloudfn_raw__
        assert user_cls is not None
        names = declare_class(user_cls).parameters
        parameters = {name: value for name, value in given.items() if name in names}
        rest = {name: value for name, value in given.items() if name not in names}
        method: Method = getattr(self._cls(**parameters), self._method)
        return method, rest


def methods_of(cls: Cls) -> dict[str, rules.MethodSpec]:
    """Return the methods of a class that is defined here."""
    return {} if cls.__cloudfn_raw__ is None else rules.methods(cls.__cloudfn_raw__)

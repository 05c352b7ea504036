"""A Function's autoscaler as users see it: change its settings, look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudfn.sdk.twins import Steps, twin

if TYPE_CHECKING:
    from cloudfn.sdk.function import Function
    from cloudfn.sdk.records import FunctionAutoscalerSettings

_LEAVE = -1
_RESET = {
    "min_containers": 0,
    "max_containers": None,
    "buffer_containers": 0,
    "scaledown_window": 60,
}


class Autoscaler:
    """How a Function scales: `update` changes it, `settings` tells."""

    def __init__(self, function: Function) -> None:
        self._function = function

    @twin
    def update(
        self,
        *,
        min_containers: int | None = _LEAVE,
        max_containers: int | None = _LEAVE,
        buffer_containers: int | None = _LEAVE,
        scaledown_window: int | None = _LEAVE,
    ) -> Steps[FunctionAutoscalerSettings]:
        """Change what is given, until the next deploy; None means the default: 0, or no limit.

        Raises:
            InvalidError: The settings make no sense together; nothing is changed then.
        """
        given = {
            "min_containers": min_containers,
            "max_containers": max_containers,
            "buffer_containers": buffer_containers,
            "scaledown_window": scaledown_window,
        }
        changes = {
            name: _RESET[name] if value is None else value
            for name, value in given.items()
            if value != _LEAVE
        }
        return (yield from self._function.update_settings(changes))

    @twin
    def settings(self) -> Steps[FunctionAutoscalerSettings]:
        """Return the settings in force: the decorator's with later changes on top."""
        from cloudfn.sdk.records import FunctionAutoscalerSettings

        target = yield from self._function.target()
        told = yield from target.client.ask("settings_get", function_id=target.function_id)
        return FunctionAutoscalerSettings.from_reply(told["settings"])

"""Commands that run a program: `cloudfn … PLACE [OPTIONS] [--] PROGRAM…`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

#: what such a command is to be told of itself: what follows a program is the program's
SETTINGS = {"allow_interspersed_args": False}


class ProgramCommand(TyperCommand):
    """A command of a place and a program.

    Options stand before the place or behind it: a program's name does not begin with a dash.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse with the options from behind the place brought before it."""
        before = self._options(args)
        place, rest = args[before : before + 1], args[before + 1 :]
        if place and place != ["--"]:
            behind = self._options(rest)
            args = [*args[:before], *rest[:behind], *place, *rest[behind:]]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def _options(self, words: list[str]) -> int:
        """Return how many of the first words are options, with their values."""
        flags = {
            name: getattr(each, "is_flag", False) for each in self.params for name in each.opts
        }
        count = 0
        while count < len(words) and words[count].startswith("-") and words[count] != "--":
            # Of what is no option, one word: that it is none is said when it is parsed.
            count += 1 if flags.get(words[count], True) else 2
        return min(count, len(words))

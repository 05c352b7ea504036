"""Loads a user's program under its one module name, and tells which program `__main__` is.

Changes `sys.modules`, `sys.path` and import hooks of this process, as an import does.
"""

from __future__ import annotations

import keyword
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from cloudfn import errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

    from _typeshed.importlib import MetaPathFinderProtocol

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))
# What stands between us and the user's first frame.
_LAUNCHERS = tuple(
    os.path.join(_STANDARD_LIBRARY, *each)
    for each in (("asyncio", ""), ("importlib", "__init__.py"), ("runpy.py",))
)
# Both are mounted into every container, so a user's file of that name would hide them there.
_RESERVED = frozenset({"cloudfn", "cloudpickle"})


@dataclass(frozen=True, slots=True)
class Program:
    """A user's program, imported.

    Attributes:
        module: The imported module; also what `sys.modules["__main__"]` is.
        module_name: The one name under which clients and containers import it.
        root: The folder that its local imports start from.
        entry: The file of `module`.
        name: What stood after `::`, or None.
    """

    module: ModuleType
    module_name: str
    root: Path
    entry: Path
    name: str | None = None


def load(ref: str, *, module: bool = False) -> Program:
    """Import the program that `ref` names and make `__main__` another name for it.

    `ref` is `file.py` or, with `module`, `pkg.mod`; either may go on with `::name`. The program's
    folder (with `module`: the working directory) becomes the first entry of `sys.path`.

    Raises:
        NotFoundError: There is no such file or module.
        InvalidError: `ref` names no Python source, or the source cannot run as it stands.
        ExecutionError: The program raised while it was imported; its exception is the cause.
    """
    target, _, name = ref.partition("::")
    if "::" in ref and not name:
        raise errors.InvalidError(
            f"{ref!r} ends with '::' and names nothing.",
            hint="Put the name of a function or entry point after it, as in file.py::main.",
        )
    program = _load_module(target) if module else _load_file(target)
    sys.modules["__main__"] = program.module
    return Program(program.module, program.module_name, program.root, program.entry, name or None)


def main_program() -> Program | None:
    """The program that runs as `__main__`, registered under its own module name as well.

    None where `__main__` has no source file: REPL, notebook, `python -c`, standard input, and
    tools without `.py` files, as pytest's script.
    """
    main = sys.modules.get("__main__")
    if main is None:
        return None
    entry = _source_of(main)
    if entry is None or str(entry).startswith(_OURS):
        return None
    spec = getattr(main, "__spec__", None)
    if main.__name__ != "__main__":
        name = main.__name__
    elif spec is not None and spec.name != "__main__":
        name = spec.name
    else:
        name = module_name_of(entry)
    sys.modules[name] = main
    return Program(main, name, _root_of(name, entry), entry)


def main_module_name() -> str | None:
    """The module name under which `__main__` is known, registering it; None if it has no file."""
    program = main_program()
    return program.module_name if program else None


def imported_program(module_name: str) -> Program:
    """The program around a module that is imported already, say one that a test imported.

    Raises:
        NotFoundError: No such module is imported, or it has no source file.
    """
    module = sys.modules.get(module_name)
    entry = _source_of(module) if module is not None else None
    if module is None or entry is None:
        raise errors.NotFoundError(
            f"The module {module_name!r} has no source file that could be brought to a container.",
            hint="Define the app in a .py file, or give its functions serialized=True.",
        )
    return Program(module, module_name, _root_of(module_name, entry), entry)


def module_name_of(entry: Path) -> str:
    """The module name of a file that is run by its path: its stem, as an identifier.

    A stem that an installed or standard module has already gets `_` at its end, so that a user's
    `json.py` and the `json` that libraries import live side by side.
    """
    stem = entry.stem if entry.stem not in {"__init__", "__main__"} else entry.parent.name
    name = "".join(c if ("_" + c).isidentifier() else "_" for c in stem) or "_"
    if not name.isidentifier():
        name = "_" + name
    while keyword.iskeyword(name) or _is_taken(name, entry):
        name += "_"
    return name


def without_tool_frames(error: BaseException) -> BaseException:
    """Take the frames of cloudfn and of the import system out of `error` and its causes.

    A traceback that has no other frames stays whole: then the fault is likely ours. Returns the
    same `error`.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        frames = _user_frames(current)
        if frames or isinstance(current, SyntaxError):
            current.__traceback__ = _chained(frames)
        pending += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
    return error


def user_traceback(error: BaseException) -> str:
    """The text of `error`'s traceback as the user should see it, without frames of tools."""
    import traceback

    return "".join(traceback.format_exception(without_tool_frames(error)))


def _load_file(target: str) -> Program:
    entry = Path(os.path.abspath(target))
    _check_file(target, entry)
    name = module_name_of(entry)
    before = _ImportState.now(name)
    _put_first(entry.parent)
    if name != entry.stem:
        _keep_installed(entry)
    try:
        module = _executed(name, entry)
    except Exception as error:  # noqa: BLE001 - user code raises what it likes
        before.restore()
        raise _import_failure(target, entry, error) from without_tool_frames(error)
    return Program(module, name, entry.parent, entry)


@dataclass(frozen=True, slots=True)
class _ImportState:
    """What an import that fails must leave as it was."""

    path: list[str]
    hooks: list[MetaPathFinderProtocol]
    modules: dict[str, ModuleType | None]

    @classmethod
    def now(cls, *names: str) -> _ImportState:
        modules = {name: sys.modules.get(name) for name in (*names, "__main__")}
        return cls(list(sys.path), list(sys.meta_path), modules)

    def restore(self) -> None:
        sys.path[:] = self.path
        sys.meta_path[:] = self.hooks
        for name, module in self.modules.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _check_file(target: str, entry: Path) -> None:
    if entry.name == "__init__.py" and entry.is_file():
        raise errors.InvalidError(
            f"{target} is a package, not a program.", hint=_module_hint(entry)
        )
    if entry.suffix == ".py" and entry.is_file():
        return
    if entry.is_dir():
        raise errors.InvalidError(
            f"{target} is a folder, not a Python file.",
            hint="Name a .py file, or a package as a module with -m.",
        )
    if entry.exists():
        raise errors.InvalidError(
            f"{target} is not a Python file.", hint="Name a file that ends with .py."
        )
    if all(part.isidentifier() for part in target.split(".")) and entry.suffix != ".py":
        raise errors.NotFoundError(
            f"There is no file {target}.", hint=f"If {target} is a module, put -m before it."
        )
    raise errors.NotFoundError(
        f"There is no file {target}.", hint=f"The working directory is {os.getcwd()}."
    )


def _executed(name: str, entry: Path) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, entry)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python has no loader for {entry}")
    module = module_from_spec(spec)
    # Before the program runs, so that an app at its top level learns its module's name.
    sys.modules[name] = sys.modules["__main__"] = module
    spec.loader.exec_module(module)
    # A program may put something else in its place, and importers would get that.
    return sys.modules.get(name, module)


def _load_module(target: str) -> Program:
    from importlib import import_module

    if target.endswith(".py") or not all(part.isidentifier() for part in target.split(".")):
        raise errors.InvalidError(
            f"{target!r} is not a module name.",
            hint="With -m write pkg.mod; leave -m away to run a file.",
        )
    before = _ImportState.now()
    _put_first(Path.cwd())
    try:
        module = import_module(target)
    except Exception as error:  # noqa: BLE001 - user code raises what it likes
        before.restore()
        if _is_absent(target, error):
            raise errors.NotFoundError(
                f"There is no module {target}.",
                hint=f"Run from the folder that holds {target.partition('.')[0]}; "
                f"this is {os.getcwd()}.",
            ) from None
        raise _import_failure(target, None, error) from without_tool_frames(error)
    entry = _source_of(module)
    if entry is None:
        raise errors.InvalidError(
            f"The module {target} has no Python source to run.",
            hint="Name a module inside it that has a .py file.",
        )
    return Program(module, target, _root_of(target, entry), entry)


def _is_absent(target: str, error: Exception) -> bool:
    """Whether `target` itself could not be found, rather than something that it imports."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return f"{target}.".startswith(f"{error.name}.") and not _user_frames(error)


def _import_failure(target: str, entry: Path | None, error: Exception) -> errors.Error:
    if isinstance(error, errors.Error):
        # Our own words about the user's program are clear already; they only lack the place.
        failure = type(error)(f"{error.message}{_place(error)}", hint=error.hint)
        failure.__dict__.update(error.__dict__ | failure.__dict__)
        return failure
    what = f"{target} cannot be imported: {type(error).__name__}: {error}{_place(error)}"
    if isinstance(error, SyntaxError):
        return errors.InvalidError(what, hint="Correct the line that the message names.")
    if isinstance(error, ImportError) and "attempted relative import" in str(error):
        return errors.InvalidError(what, hint=_module_hint(entry))
    if isinstance(error, ModuleNotFoundError):
        return errors.ExecutionError(what, hint=f"Is {error.name} installed for {sys.executable}?")
    return errors.ExecutionError(what, hint="The program itself raised this; see its traceback.")


def _place(error: Exception) -> str:
    frames = _user_frames(error)
    if not frames or isinstance(error, SyntaxError):
        return ""
    return f" ({frames[-1].tb_frame.f_code.co_filename}, line {frames[-1].tb_lineno})"


def _module_hint(entry: Path | None) -> str:
    if entry is None:
        return "A relative import cannot leave its top package."
    top = entry.parent
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    dotted = ".".join(entry.relative_to(top.parent).with_suffix("").parts)
    dotted = dotted.removesuffix(".__init__")
    return f"Relative imports need a package: in {top.parent} use -m {dotted}."


def _put_first(folder: Path) -> None:
    if not sys.path or sys.path[0] != str(folder):
        sys.path.insert(0, str(folder))


class _InstalledFirst:
    """An import hook: `name` stays the installed module, although a user's file has that name."""

    def __init__(self, name: str, folder: str) -> None:
        self._name = name
        self._folder = folder

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        from importlib.machinery import PathFinder

        elsewhere = [each for each in sys.path if os.path.abspath(each) != self._folder]
        return PathFinder.find_spec(fullname, elsewhere, target)


def _keep_installed(entry: Path) -> None:
    sys.meta_path.insert(0, _InstalledFirst(entry.stem, str(entry.parent)))


def _is_taken(name: str, entry: Path) -> bool:
    """Whether `name` belongs to Python, to us or to an installed distribution."""
    if name in sys.stdlib_module_names or name in _RESERVED:
        return True
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name, [each for each in sys.path if is_installed(each)])
    # A folder without __init__.py never hides a file, so it takes no name.
    return spec is not None and spec.origin is not None and Path(spec.origin) != entry


def is_installed(path: str) -> bool:
    """Whether `path` lies in the standard library or among installed distributions."""
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return True
    return path == _STANDARD_LIBRARY or path.startswith(_STANDARD_LIBRARY + os.sep)


def _source_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    # IPython sets `__file__` while it runs a script, but what follows comes from its prompt.
    if not file or not file.endswith(".py") or not os.path.isfile(file) or _is_notebook(module):
        return None
    return Path(os.path.abspath(file))


def _is_notebook(module: ModuleType) -> bool:
    return module.__name__ == "__main__" and hasattr(module, "get_ipython")


def _root_of(module_name: str, entry: Path) -> Path:
    depth = module_name.count(".")
    if entry.name == "__init__.py" and module_name.rpartition(".")[2] == entry.parent.name:
        depth += 1
    return entry.parents[depth]


def _user_frames(error: BaseException) -> list[TracebackType]:
    frames: list[TracebackType] = []
    current = error.__traceback__
    while current is not None:
        file = current.tb_frame.f_code.co_filename
        if not _is_tool(current) and (frames or not file.startswith(_LAUNCHERS)):
            frames.append(current)
        current = current.tb_next
    return frames


def _is_tool(frame: TracebackType) -> bool:
    """Whether a frame is ours or the interpreter's own."""
    file = frame.tb_frame.f_code.co_filename
    if file.startswith((_OURS, "<frozen ")):
        return True
    # The `__init__` of a dataclass is made from text, in the name of its module.
    module = str(frame.tb_frame.f_globals.get("__name__"))
    return file == "<string>" and module.partition(".")[0] == "cloudfn"


def _chained(frames: list[TracebackType]) -> TracebackType | None:
    chain: TracebackType | None = None
    for each in reversed(frames):
        chain = TracebackType(chain, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return chain

"""`python -m cloudfn.worker.building PROGRAM CALL [FOLDER]`: runs a function in a build."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from cloudfn.errors import NotFoundError
from cloudfn.wire import codec


def main(program: str, call: str, folder: str = ".") -> None:
    """Call the function that a call's folder names, with the arguments in it.

    Args:
        program: The folder of the sources that it imports from.
        call: The folder with `call.pickle` and `arguments.pickle`.
        folder: The working directory, which is made if it is missing.

    Raises:
        BaseException: Whatever the function raises.
    """
    sys.path.insert(0, os.path.abspath(program))
    # The program is imported as in a container: `is_local` has to say so.
    os.environ["CLOUDFN_MARKER"] = "build"
    pickles = Path(call).absolute()
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    reference, function = codec.loads((pickles / "call.pickle").read_bytes(), "the function")
    if reference is not None:
        function = _found(reference)
    args, kwargs = codec.loads((pickles / "arguments.pickle").read_bytes(), "the arguments")
    function(*args, **kwargs)


def _found(reference: str) -> Any:
    module, _, qualname = reference.partition(":")
    found: Any = import_module(module)
    # Pickles may know the program by this name, too.
    sys.modules["__main__"] = found
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotFoundError(
                f"There is no {qualname!r} in the module {module!r} while the image is built.",
                hint="Define the function at the top level of its module.",
            ) from None
    return found


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception:
        traceback.print_exc()
        sys.exit(1)

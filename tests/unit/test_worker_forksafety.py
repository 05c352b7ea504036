"""When a process may be forked after an import."""

import threading

import pytest

from cloudfn.worker.forksafety import Footprint, objection, observe

BARE = Footprint(descriptors=frozenset({(0, "/dev/null"), (5, "socket:[1]")}))


def _with(**changes):
    descriptors = BARE.descriptors | changes.pop("descriptors", frozenset())
    return Footprint(descriptors=descriptors, **changes)


@pytest.mark.parametrize(
    "after",
    [
        _with(),
        _with(descriptors={(6, "/home/me/data.csv"), (7, "pipe:[9]")}),
        _with(native_threads=3, libraries=frozenset({"libscipy_openblas64_-8fb3d286.so"})),
        _with(native_threads=7, libraries=frozenset({"libmkl_rt.so.2"})),
        _with(native_threads=7, libraries=frozenset({"libiomp5.so"})),
        _with(libraries=frozenset({"libcuda.so.1"})),
    ],
    ids=["nothing", "files", "OpenBLAS", "MKL", "OpenMP", "CUDA that is only loaded"],
)
def test_what_a_fork_carries_over_is_no_objection(after):
    assert objection(BARE, after) == ""


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (_with(python_threads=("poller",)), "1 Python thread (poller)"),
        (_with(python_threads=tuple("abcd")), "4 Python threads (a, b, c, …)"),
        (_with(descriptors={(6, "socket:[2]")}), "1 socket"),
        (_with(descriptors={(6, "socket:[2]"), (7, "socket:[3]")}), "2 sockets"),
        (_with(native_threads=2, libraries=frozenset({"libgomp.so.1"})), "2 native threads"),
        (_with(cuda=True), "CUDA"),
        (
            _with(descriptors={(6, "/dev/nvidia0")}, libraries=frozenset({"libcuda.so.550.1"})),
            "CUDA",
        ),
    ],
)
def test_what_a_fork_would_lose_is_named(after, why):
    assert why in objection(BARE, after)


def test_what_was_there_before_the_import_is_no_objection():
    before = _with(python_threads=("old",), native_threads=2)

    assert objection(before, before) == ""
    assert "(new)" in objection(before, _with(python_threads=("old", "new"), native_threads=2))


def test_observe_sees_threads_descriptors_and_libraries(tmp_path):
    before = observe()
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="seen")
    with (tmp_path / "open").open("w"):
        thread.start()
        seen = observe()
        gate.set()
        thread.join()

    assert "seen" in seen.python_threads
    assert seen.native_threads == before.native_threads
    assert str(tmp_path / "open") in {target for _, target in seen.descriptors}
    assert any(name.startswith("libc.so") for name in seen.libraries)
    assert not seen.cuda

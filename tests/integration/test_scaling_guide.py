"""The snippets of Modal's guide "Scaling out", run as they are written but for the import.

The guide lies beside the repository; where it does not, these tests are skipped, and fail in
continuous integration.
"""
# ruff: noqa: TID251 - the environment says whether this is continuous integration

import os
import re
from pathlib import Path

import pytest

import cloudfn
from tests.integration.conformance_world import World, world

__all__ = ["world"]
GUIDE = Path(__file__).parents[3] / "shared" / "000_07f13c0d1c9a00be.txt"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not GUIDE.exists() and os.environ.get("CI") != "true", reason=f"{GUIDE} is not there"
    ),
]

_BLOCK = re.compile(r"^```python( notest)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: what the guide takes for granted in snippets that import nothing
GIVEN = "import modal\n\napp = modal.App()\n\n"

DEPLOYED = """
import cloudfn

app = cloudfn.App("my-app")

@app.function()
def f():
    return "f"

@app.cls()
class MyClass:
    model_version: str = cloudfn.parameter()

    @cloudfn.method()
    def version(self):
        return self.model_version
"""

#: what the snippets of incorrect usage refer to
EVALUATE = """
@app.function()
def evaluate_model(x):
    return x

inputs = [1, 2]
"""


def snippet(number: int, before: str = "") -> str:
    """Return a block of the guide, with what it takes for granted and with our import."""
    text = _BLOCK.findall(GUIDE.read_text())[number][1]
    given = "" if "import modal" in text else GIVEN
    return (given + before + text).replace("import modal", "import cloudfn as modal")


def test_the_guide_has_the_snippets_that_are_run_here():
    first_lines = [body.splitlines()[0] for _, body in _BLOCK.findall(GUIDE.read_text())]

    assert first_lines == [
        'f = modal.Function.from_name("my-app", "f")',
        "f.update_autoscaler(min_containers=2, max_containers=10)",
        "@app.function()",
        'MyClass = modal.Cls.from_name("my-app", "MyClass")',
        "import modal",
        "@app.function()",
        "@app.function()",
        "results = evaluate_model(inputs).map()",
        "results = map(evaluate_model, inputs)",
    ]


def test_the_autoscaler_is_updated_by_name_and_updates_add_up(world: World):
    world.cli("deploy", world.write(DEPLOYED, "my_app.py"))
    f = cloudfn.Function.from_name("my-app", "f")

    world.python(world.write(snippet(0)))
    assert f.autoscaler.settings().max_containers == 100

    looked_up = 'f = modal.Function.from_name("my-app", "f")\n'
    world.python(world.write(snippet(1, before=looked_up)))
    settings = f.autoscaler.settings()
    assert (settings.min_containers, settings.max_containers) == (4, 10)


def test_scheduled_functions_adjust_the_pool_of_another(world: World):
    path = world.write(snippet(2))
    world.cli("deploy", "--name", "warm-pool", path)

    listed = world.cli("schedule", "list").stdout
    assert "increase_warm_pool" in listed
    assert "decrease_warm_pool" in listed

    server = cloudfn.Function.from_name("warm-pool", "inference_server")
    for scheduled, containers in (("increase_warm_pool", 4), ("decrease_warm_pool", 0)):
        cloudfn.Function.from_name("warm-pool", scheduled).remote()
        assert server.autoscaler.settings().min_containers == containers


def test_an_instance_of_a_class_has_an_autoscaler_of_its_own(world: World):
    world.cli("deploy", world.write(DEPLOYED, "my_app.py"))

    # As in the guide, and then used.
    used = 'assert obj.version.remote() == "3.5"\n'
    world.python(world.write(snippet(3) + used))


def test_a_map_over_a_hundred_inputs_runs(world: World):
    done = world.cli("run", world.write(snippet(4)))

    assert "100 inputs" in done.stderr


def test_exceptions_are_among_the_results(world: World):
    done = world.cli("run", "-q", world.write(snippet(5)))

    assert done.stdout == "[0, 1, Exception('ohno')]\n"


def test_starmap_spreads_sequences_over_the_arguments(world: World):
    world.cli("run", world.write(snippet(6)))


def test_incorrect_usage_fails_as_it_does_there(world: World):
    path = world.write(snippet(7, before=EVALUATE))
    assert "TypeError: 'Function' object is not callable" in world.python(path, code=1).stderr

    # Python's own map is lazy: the snippet as it stands does nothing at all.
    lazy = world.write(snippet(8, before=EVALUATE))
    world.python(lazy)

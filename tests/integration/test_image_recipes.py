"""What the builder records, as containers of the process runtime have it."""

import json
import sys
from pathlib import Path

import pytest

from tests.integration.conformance_world import World, world
from tests.integration.wheels import write_wheel

__all__ = ["world"]
pytestmark = pytest.mark.integration


def test_an_image_has_what_its_steps_leave(world: World):
    folder = world.folder
    write_wheel(folder / "wheels", "inside")
    (folder / "requirements.txt").write_text("-r more.txt\n")
    (folder / "more.txt").write_text("inside  # from the folder\n")
    (folder / "copied.py").write_text("NAME = 'copied'\n")
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("data")
    program = world.write(f"""
    import importlib, os, sys
    from pathlib import Path
    import cloudfn

    def leave(name, *, where):
        import inside
        Path(where).write_text(f"{{name}} {{inside.__name__}} {{os.environ['STEP']}}")

    image = (
        cloudfn.Image.debian_slim()
        .env({{"WHO": "me"}})
        .pip_install_from_requirements({str(folder / "requirements.txt")!r},
            find_links={str(folder / "wheels")!r}, extra_options="--no-index")
        .run_function(leave, args=("a",), kwargs={{"where": {str(folder / "left")!r}}},
            env={{"STEP": "one"}})
        .add_local_python_source("copied", copy=True)
        .add_local_dir({str(folder / "data")!r}, {str(folder / "seen")!r}, copy=True)
    )
    MODULE = "copied"  # no import that brings it along
    app = cloudfn.App("recipes", image=image)


    @app.function()
    def look():
        copied = importlib.import_module(MODULE)
        return [
            copied.NAME, "site-packages" in copied.__file__, os.environ["WHO"],
            "STEP" in os.environ, open({str(folder / "seen" / "a.txt")!r}).read(),
            sys.prefix != {sys.prefix!r},
        ]


    @app.local_entrypoint()
    def main():
        import json
        assert image.build(app) is image
        print(json.dumps(look.remote()))
    """)

    told = world.cli("run", "-q", program)

    assert json.loads(told.stdout.splitlines()[-1]) == ["copied", True, "me", False, "data", True]
    assert (folder / "left").read_text() == "a inside one"
    (folder / "left").unlink()
    program.write_text(program.read_text() + "\n# changed\n")
    world.cli("run", "-q", program)
    assert not (folder / "left").exists(), "a change of the program builds nothing"


def test_the_local_environment_is_that_of_the_client(world: World):
    site = world.folder / "lib" / "site-packages"
    wheel = write_wheel(world.folder / "wheels", "mine")
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": Path(wheel).as_uri(), "archive_info": {}})
    )
    # Only what this test put there counts as installed: the rest would have to be fetched.
    program = world.write(f"""
    import importlib.metadata, sys
    import cloudfn

    found = importlib.metadata.distributions
    importlib.metadata.distributions = lambda **_: found(path=[{str(site)!r}])
    app = cloudfn.App("local-env", image=cloudfn.Image.from_local_env())


    @app.function()
    def look():
        import mine
        return mine.__name__, "site-packages" in mine.__file__


    @app.local_entrypoint()
    def main():
        print(look.remote())
    """)

    assert world.cli("run", "-q", program).stdout.splitlines()[-1] == "('mine', True)"

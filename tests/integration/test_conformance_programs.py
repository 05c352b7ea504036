"""Whole programs: `python script.py`, `-m`, standard input; their modules and classes."""

import json

import pytest

from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def test_a_script_with_a_main_part_gets_its_own_classes_back(world: World):
    path = world.write(
        """
        import sys
        import cloudfn

        app = cloudfn.App("script")

        class Thing:
            def __init__(self, value):
                self.value = value

        class Broken(Exception):
            pass

        @app.function()
        def make(thing):
            assert isinstance(thing, Thing)
            return Thing(thing.value + 1)

        @app.function()
        def fail():
            raise Broken("from there")

        @app.function()
        def main_is():
            return __name__, sys.modules["__main__"].__dict__.get("Thing") is Thing

        if __name__ == "__main__":
            with app.run():
                made = make.remote(Thing(1))
                print(isinstance(made, Thing), made.value)
                try:
                    fail.remote()
                except Broken as error:
                    print("caught", error)
                print(*main_is.remote())
        """,
        "script_of_mine.py",
    )
    done = world.python(path)
    assert done.stdout == "True 2\ncaught from there\nscript_of_mine True\n"
    assert done.stderr == ""


def test_import_cloudfn_as_modal_works(world: World):
    path = world.write(
        """
        import cloudfn as modal

        app = modal.App("as-modal")

        @app.function(retries=modal.Retries(max_retries=1))
        def f(x):
            assert not modal.is_local()
            return x + 1

        @app.local_entrypoint()
        def main():
            print(list(f.map([1, 2])))
            try:
                modal.Function.from_name("no-such", "f").remote()
            except modal.exception.NotFoundError:
                print("not found")
        """
    )
    assert world.cli("run", path).stdout == "[2, 3]\nnot found\n"


@pytest.mark.parametrize("how", ["stdin", "-c"])
def test_a_program_without_a_file_sends_its_functions_by_value(world: World, how):
    source = """
import cloudfn

app = cloudfn.App("typed-in")

class Thing:
    def __init__(self, value):
        self.value = value

OFFSET = 10

def helper(x):
    return x + OFFSET

@app.function(serialized=True)
def f(thing):
    return Thing(helper(thing.value))

with app.run():
    made = f.remote(Thing(5))
    print(type(made) is Thing, made.value)
"""
    done = world.python("-c", source) if how == "-c" else world.python("-", text=source)
    assert done.stdout == "True 15\n"


def test_a_program_without_a_file_may_leave_serialized_away_or_is_told(world: World):
    source = """
import cloudfn
app = cloudfn.App("typed-in")

@app.function()
def f(x):
    return x + 1

with app.run():
    print(f.remote(1))
"""
    done = world.python("-c", source, code=None)
    assert done.stdout == "2\n" or "serialized=True" in done.stderr


def test_local_modules_and_packages_come_along(world: World):
    world.write(
        "from tools import inner\n\ndef double(x):\n    return inner.twice(x)\n", "neighbour.py"
    )
    world.write("", "tools/__init__.py")
    world.write(
        "from . import deep\n\ndef twice(x):\n    return deep.FACTOR * x\n", "tools/inner.py"
    )
    world.write("FACTOR = 2\n", "tools/deep.py")
    world.write("def late(x):\n    return x * 100\n", "imported_late.py")
    world.write("from . import inner\nVALUE = inner.twice(21)\n", "tools/only_late.py")
    path = world.write(
        """
        import cloudfn
        import neighbour

        app = cloudfn.App("modules")

        @app.function()
        def f(x):
            import imported_late
            from tools.only_late import VALUE
            return neighbour.double(x), imported_late.late(x), VALUE, neighbour.__file__, __file__

        @app.local_entrypoint()
        def main():
            import json
            print(json.dumps(f.remote(3)))
        """
    )
    *values, neighbour, entry = json.loads(world.cli("run", path).stdout)
    assert values == [6, 300, 42]
    # Containers import from their bundle, so a later edit does not reach them.
    assert not neighbour.startswith(str(world.folder))
    assert not entry.startswith(str(world.folder))


def test_a_module_of_a_package_runs_with_m_and_relative_imports(world: World):
    world.write("", "shop/__init__.py")
    world.write("PRICE = 7\n", "shop/prices.py")
    world.write(
        """
        import cloudfn
        from . import prices

        app = cloudfn.App("shop")

        class Bill:
            def __init__(self, total):
                self.total = total

        @app.function()
        def bill(n):
            from .prices import PRICE
            return Bill(n * PRICE)

        @app.local_entrypoint()
        def main(n: int = 2):
            made = bill.remote(n)
            print(type(made) is Bill, made.total)

        if __name__ == "__main__":
            with app.run():
                main(3)
        """,
        "shop/checkout.py",
    )
    assert world.cli("run", "-m", "shop.checkout").stdout == "True 14\n"
    assert world.cli("run", "-m", "shop.checkout::main", "--n", "5").stdout == "True 35\n"
    assert world.python("-m", "shop.checkout").stdout == "True 21\n"


def test_a_relative_import_of_a_lone_file_gets_a_hint(world: World):
    """C014."""
    path = world.write("from . import other\nimport cloudfn\napp = cloudfn.App('x')\n")
    done = world.cli("run", path, code=1)
    assert "relative import" in done.stderr
    assert "hint:" in done.stderr
    assert "-m" in done.stderr


def test_a_relative_import_that_fails_in_a_container_gets_a_hint(world: World):
    """C014."""
    path = world.write(
        """
        import cloudfn

        app = cloudfn.App("relative")

        @app.function()
        def f():
            from . import other

        @app.local_entrypoint()
        def main():
            try:
                f.remote()
            except ImportError as error:
                print(error)
        """
    )
    out = world.cli("run", path).stdout
    assert "attempted relative import" in out
    assert out.rstrip().endswith("`cloudfn run -m package.module`")


def test_a_file_may_be_named_like_a_standard_module(world: World):
    path = world.write(
        """
        import cloudfn

        app = cloudfn.App("shadow")

        class Thing:
            pass

        @app.function()
        def f():
            import json
            return json.dumps([1]), Thing()

        @app.local_entrypoint()
        def main():
            text, thing = f.remote()
            print(text, type(thing) is Thing)
        """,
        "shadow/json.py",
    )
    assert world.cli("run", path).stdout == "[1] True\n"


def test_files_beside_the_program_stay_where_they_are_and_the_bundle_is_read_as_a_path(
    world: World,
):
    path = world.write(
        """
        import os
        import cloudfn

        app = cloudfn.App("folders")

        @app.function()
        def where():
            return os.getcwd() == os.path.dirname(os.path.abspath(__file__))

        @app.local_entrypoint()
        def main():
            print(where.remote())
        """
    )
    assert world.cli("run", path).stdout == "True\n"


def test_a_program_that_runs_its_app_at_import_is_told_in_the_container(world: World):
    path = world.write(
        """
        import cloudfn

        app = cloudfn.App("careless")

        @app.function()
        def f():
            return 1

        with app.run():
            try:
                print(f.remote())
            except Exception as error:
                print(error)
        """
    )
    assert "inside a container" in world.python(path).stdout


def test_a_local_entrypoint_that_runs_its_app_again_is_refused(world: World):
    path = world.write(
        """
        import cloudfn

        app = cloudfn.App("twice")

        @app.local_entrypoint()
        def main():
            with app.run():
                pass
        """
    )
    done = world.cli("run", path, code=1)
    assert "already running" in done.stderr


def test_functions_of_two_modules_of_one_app(world: World):
    world.write(
        """
        import cloudfn

        other = cloudfn.App("other")

        @other.function()
        def inner(x):
            return x + 1
        """,
        "other_app.py",
    )
    path = world.write(
        """
        import cloudfn
        from other_app import other, inner

        app = cloudfn.App("whole").include(other)

        @app.function()
        def outer(x):
            return inner.remote(x) * 10

        @app.local_entrypoint()
        def main():
            print(inner.remote(1), outer.remote(1))
        """
    )
    assert world.cli("run", path).stdout == "2 20\n"


def test_an_exception_that_nobody_catches_ends_the_script_with_the_remote_line(world: World):
    path = world.write(
        """
        import cloudfn

        app = cloudfn.App("uncaught")

        @app.function()
        def f():
            raise LookupError("deep inside")

        if __name__ == "__main__":
            with app.run():
                f.remote()
        """
    )
    done = world.python(path, code=1)
    assert 'raise LookupError("deep inside")' in done.stderr
    assert "f.remote()" in done.stderr
    assert done.stderr.rstrip().endswith("LookupError: deep inside")
    wait_for("no container", lambda: not world.containers())


def test_what_modal_offers_goes_together(world: World):
    path = world.write(
        """
        import cloudfn as modal

        app = modal.App("together")

        @app.cls(retries=modal.Retries(max_retries=3, initial_delay=0.0), max_containers=1)
        class Model:
            tag: str = modal.parameter(default="t")

            @modal.enter()
            def load(self):
                self.tries = 0

            @modal.method()
            def items(self, n):
                yield from (f"{self.tag}{i}" for i in range(n))

            @modal.method()
            def stubborn(self):
                self.tries += 1
                if self.tries < 3:
                    raise ValueError("not yet")
                return self.tries

        @app.cls()
        class Batched:
            tag: str = modal.parameter()

            @modal.batched(max_batch_size=4, wait_ms=20)
            async def mark(self, xs):
                return [f"{self.tag}{x}" for x in xs]

        @app.function()
        def count(n):
            yield from range(n)

        @app.function()
        def square(x):
            return x * x

        @app.function()
        def add(a, b):
            return a + b

        @app.function()
        def inside(n):
            found = modal.Function.from_name("together", "square").hydrate()
            cls = modal.Cls.from_name("together", "Model").with_options(timeout=50)
            calls = [square.spawn(i) for i in range(n)]
            return (
                found.remote(n),
                modal.FunctionCall.gather(*calls),
                list(cls(tag="in").items.remote_gen(2)),
                list(modal.Function.from_name("together", "count")
                     .with_options(timeout=50).remote_gen(2)),
                list(add.starmap(zip(square.map([1, 2]), square.map([3, 4])))),
                modal.is_local(),
            )

        @app.local_entrypoint()
        async def main():
            print([x async for x in Model(tag="s").items.remote_gen.aio(3)])
            print(await Model().stubborn.remote.aio())
            print([x async for x in Batched(tag="b").mark.map.aio(range(5))])
            print(await inside.remote.aio(3))
        """
    )
    world.cli("deploy", path)
    assert world.cli("run", "-q", path).stdout.splitlines() == [
        "['s0', 's1', 's2']",
        "3",
        "['b0', 'b1', 'b2', 'b3', 'b4']",
        "(9, [0, 1, 4], ['in0', 'in1'], [0, 1], [10, 20], False)",
    ]


def test_threads_and_subprocesses_of_a_client_do_no_harm(world: World):
    path = world.write(
        """
        import subprocess
        import sys
        from concurrent.futures import ThreadPoolExecutor
        import cloudfn

        app = cloudfn.App("threads")

        @app.function()
        def f(x):
            return x * x

        if __name__ == "__main__":
            with app.run(), ThreadPoolExecutor(8) as threads:
                print(sum(threads.map(f.remote, range(100))))
                subprocess.run([sys.executable, "-c", "print('child')"], check=True)
                print(f.remote(3))
        """
    )
    assert world.python("-u", path).stdout == "328350\nchild\n9\n"


def test_a_spawned_call_of_a_deployed_app_outlives_its_client(world: World):
    """C068."""
    path = world.write(
        """
        import time
        import cloudfn

        app = cloudfn.App("outlives")

        @app.function()
        def slow(x):
            time.sleep(0.3)
            return x + 1

        if __name__ == "__main__":
            import os
            import sys
            app.deploy()
            print(slow.spawn(1).object_id, flush=True)
            os.kill(os.getpid(), 9)
        """
    )
    call = world.python(path, code=-9).stdout.strip()
    source = f"import cloudfn\nprint(cloudfn.FunctionCall.from_id('{call}').get(timeout=30))"
    assert world.python("-c", source).stdout == "2\n"


def test_importing_cloudfn_loads_nothing_heavy(world: World):
    source = """
import sys
before = set(sys.modules)
import cloudfn
heavy = {"asyncio", "cloudpickle", "rich", "typer", "inspect", "logging", "subprocess", "sqlite3"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    assert world.python("-c", source).stdout == "[]\n"

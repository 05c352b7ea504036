"""Classes in offline runs: hooks, parameters, variants."""

import asyncio

import pytest

import cloudfn
from cloudfn.testing import offline

app = cloudfn.App("offline-classes")
ended = []


@app.cls()
class Model:
    size: str = cloudfn.parameter(default="s")

    @cloudfn.enter()
    def load(self):
        self.seen = ["load"]

    @cloudfn.enter()
    async def load_more(self):
        self.seen.append("more")

    @cloudfn.exit()
    def leave(self):
        ended.append(self.size)

    @cloudfn.method()
    def grow(self, x):
        self.seen.append(x)
        return self.size, self.seen

    @cloudfn.method()
    async def later(self, x):
        await asyncio.sleep(0)
        return self.size * x

    @cloudfn.method()
    def both(self):
        return self.later.remote(2), self.grow.local(0)[0]

    @cloudfn.method()
    def items(self):
        yield from self.size

    @cloudfn.method()
    def fail(self):
        raise LookupError(self.size)


def test_each_parameter_set_is_entered_once_and_exits_at_the_end():
    ended.clear()
    with offline(), app.run():
        assert Model().grow.remote(1) == ("s", ["load", "more", 1])
        assert Model(size="s").grow.remote(2) == ("s", ["load", "more", 1, 2])
        assert Model(size="l").grow.remote(3) == ("l", ["load", "more", 3])
        assert ended == []

    assert sorted(ended) == ["l", "s"]


def test_methods_do_what_functions_do():
    with offline() as world, app.run():
        model = Model(size="ab")
        assert list(model.later.map([1, 2])) == ["ab", "abab"]
        assert model.both.remote() == ("abab", "ab")
        assert list(model.items.remote_gen()) == ["a", "b"]
        assert model.later.spawn(3).get() == "ababab"
        with pytest.raises(LookupError, match="ab"):
            model.fail.remote()
        with pytest.raises(cloudfn.exception.InvalidError, match="Unknown parameter"):
            Model(width=3).grow.remote(1)

        assert world.count("Model.later") == 4


def test_variants_and_deployed_classes_are_there_as_well():
    with offline():
        app.deploy()
        handle = cloudfn.Cls.from_name("offline-classes", "Model")
        assert handle(size="x").grow.remote(1)[0] == "x"
        other = handle.with_options(max_containers=3)(size="x")
        assert other.update_autoscaler(buffer_containers=1).max_containers == 3
        assert other.grow.remote(2) == ("x", ["load", "more", 2])

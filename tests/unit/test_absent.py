"""Names of Modal's that are not here: harmless to import, clear when used."""

import pytest

import cloudfn
from cloudfn.errors import UnimplementedError
from cloudfn.sdk.absent import INSTEAD


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_a_name_can_be_imported_and_says_what_to_use_instead_when_it_is_used(name):
    stand_in = getattr(cloudfn, name)
    for use in (stand_in, lambda: stand_in.create("x"), lambda: stand_in(size=2)):
        with pytest.raises(UnimplementedError, match=f"cloudfn.{name}") as caught:
            use()
        assert caught.value.hint == INSTEAD[name]


def test_there_are_no_experimental_clusters_either():
    for use in (cloudfn.experimental.get_cluster_info, lambda: cloudfn.experimental.clustered(2)):
        with pytest.raises(UnimplementedError) as caught:
            use()
        assert caught.value.hint


def test_they_may_stand_in_annotations():
    def f(sandbox: cloudfn.Sandbox | None = None, proxy: cloudfn.Proxy | str = "none"):
        return sandbox, proxy

    assert f() == (None, "none")
    assert "Sandbox" in repr(cloudfn.Sandbox)
    assert not hasattr(cloudfn.Sandbox, "__wrapped__")


def test_a_name_that_nobody_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Sandbocks'"):
        _ = cloudfn.Sandbocks

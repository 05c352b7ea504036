"""The pytest plugin: it costs nothing until it is used, and then it runs a user's own tests."""

import subprocess
import sys

AFTER_IMPORT = """
import sys, pytest
before = set(sys.modules)
import cloudfn.testing.plugin
print(*sorted(set(sys.modules) - before))
"""

PROGRAM = """
import cloudfn

app = cloudfn.App("shop")


class Refused(Exception):
    pass


@app.function(retries=1)
def charge(customer):
    if customer == "eve":
        raise Refused(customer)
    return f"charged {customer}"
"""

TESTS = """
import pytest
import shop


def test_it_runs(cloudfn_offline):
    with shop.app.run():
        assert shop.charge.remote("ada") == "charged ada"
        with pytest.raises(shop.Refused):
            shop.charge.remote("eve")
    assert cloudfn_offline.count("charge") == 3


def test_each_test_has_a_world_of_its_own(cloudfn_offline):
    assert cloudfn_offline.attempts == []


def test_a_script_that_is_not_followed_is_an_error(cloudfn_offline):
    cloudfn_offline.script["charg"] = ["die"]


def test_without_the_fixture_nothing_runs():
    with pytest.raises(Exception, match="not running"):
        shop.charge.remote("ada")
"""


def test_loading_it_imports_nothing_but_itself():
    done = subprocess.run(
        [sys.executable, "-c", AFTER_IMPORT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == ["cloudfn", "cloudfn.testing", "cloudfn.testing.plugin"]


def test_a_user_can_test_an_app_with_it(tmp_path):
    (tmp_path / "shop.py").write_text(PROGRAM)
    (tmp_path / "test_shop.py").write_text(TESTS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "4 passed, 1 error" in done.stdout, done.stdout
    assert "The script speaks of inputs that never ran: 'charg'." in done.stdout


def test_names_of_the_package_come_when_they_are_asked_for():
    import cloudfn.testing as package

    assert set(package.__all__) <= set(dir(package))
    assert all(callable(getattr(package, name)) for name in package.__all__)

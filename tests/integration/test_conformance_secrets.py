"""Conformance: secrets as Modal has them (C166), and that nobody sees them."""

import json
import os
from pathlib import Path

import httpx
import pytest

import cloudfn
from cloudfn import errors
from cloudfn.sdk.client import using
from tests.integration.conformance_world import PATIENCE, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
    import os, sys
    import cloudfn as modal

    app = modal.App("guarded", secrets=[modal.Secret.from_dict({"A": "app", "B": "app"})])
    names = "ABCDE"


    def shown():
        return {name: os.environ.get(name) for name in names}


    @app.function(
        secrets=[
            modal.Secret.from_dict({"B": "first", "C": "first", "D": "first", "N": None}),
            modal.Secret.from_dict({"C": "second", "D": "second"}),
        ],
        env={"D": "env"},
    )
    def own():
        return shown()


    @app.function(secrets=[modal.Secret.from_name("tokens", required_keys=["E"])])
    def named():
        return shown()


    @app.function(secrets=[modal.Secret.from_name("tokens")], fork=False)
    def fresh():
        with open("/proc/self/environ") as started_with:
            return shown(), "e-secret" in started_with.read()


    @app.function()
    def looks():
        for attempt in (lambda: modal.Secret.from_name("tokens").hydrate(),
                        lambda: modal.Secret.objects.list()):
            try:
                attempt()
            except modal.exception.PermissionDeniedError as error:
                print("refused:", error.message)
"""


def test_c166_later_secrets_override_earlier_ones_and_env_overrides_all(world):
    world.cli("secret", "create", "tokens", "E=e-secret", "A=tokens")
    program = world.write(PROGRAM)
    world.cli("deploy", program)
    own = cloudfn.Function.from_name("guarded", "own")
    named = cloudfn.Function.from_name("guarded", "named")

    assert own.remote() == {"A": "app", "B": "first", "C": "second", "D": "env", "E": None}
    assert named.remote() == {"A": "tokens", "B": "app", "C": None, "D": None, "E": "e-secret"}
    found, in_process_list = cloudfn.Function.from_name("guarded", "fresh").remote()
    assert found["E"] == "e-secret"
    assert not in_process_list


def test_the_same_secrets_again_are_no_new_revision(world):
    world.cli("secret", "create", "tokens", "E=e-secret", "--force")
    program = world.write(PROGRAM, "again.py")
    world.cli("deploy", program)
    before = world.ask("app_history", name="guarded")["revisions"]
    world.cli("deploy", program)

    assert world.ask("app_history", name="guarded")["revisions"] == before


def test_a_changed_secret_reaches_containers_that_start_afterwards(world):
    named = cloudfn.Function.from_name("guarded", "named")
    cloudfn.Secret.from_name("tokens").update({"E": "changed", "B": "more"})
    for container in world.containers("named"):
        world.ask("container_stop", container_id=container["container_id"])

    found = named.remote()
    assert (found["E"], found["B"]) == ("changed", "more")


def test_user_code_in_a_container_sees_no_secret_that_is_not_its_own(world):
    looks = cloudfn.Function.from_name("guarded", "looks")
    looks.remote()
    shown = world.cli("app", "logs", "guarded", "--function", "looks").stdout

    assert shown.count("refused") == 2


def test_a_required_key_or_a_secret_that_is_missing_fails_the_deploy(world):
    for secret, reason in (("{'name': 'tokens', 'required_keys': ['X', 'Y']}", "X, Y"),
                           ("{'name': 'nowhere'}", "no secret named 'nowhere'")):  # fmt: skip
        program = world.write(f"""
            import cloudfn
            app = cloudfn.App("lacking")
            @app.function(secrets=[cloudfn.Secret.from_name(**{secret})])
            def f(): pass
        """)
        assert reason in world.cli("deploy", program, code=1).stderr
        assert reason in world.cli("run", program, code=1).stderr
    assert all(app["name"] != "lacking" for app in world.ask("app_list")["apps"])


def test_a_secret_that_was_deleted_fails_the_start_with_its_name(world):
    world.cli("secret", "create", "passing", "P=1")
    program = world.write("""
        import cloudfn
        app = cloudfn.App("orphaned")
        passing = [cloudfn.Secret.from_name("passing")]

        @app.function(secrets=passing, name="f")
        def f(): pass

        @app.function(secrets=passing, name="page")
        @cloudfn.wsgi_app()
        def page(): pass
    """)
    world.cli("deploy", program)
    world.cli("secret", "delete", "passing", "-y")

    with pytest.raises(errors.Error, match="no secret named 'passing'"):
        cloudfn.Function.from_name("orphaned", "f").remote()
    url = cloudfn.Function.from_name("orphaned", "page").get_web_url()
    answer = httpx.get(url, timeout=PATIENCE)
    assert answer.status_code == 500
    assert "no secret named 'passing'" in answer.text


def test_values_come_from_files_and_from_the_process(world):
    (world.folder / ".env").write_text('A="from file"\n')
    inner = world.folder / "inner"
    inner.mkdir()
    program = world.write("""
        import cloudfn, os
        app = cloudfn.App()
        secrets = [cloudfn.Secret.from_dotenv(), cloudfn.Secret.from_local_environ(["LOCAL"])]
        @app.function(secrets=secrets)
        def show(): print(os.environ["A"], os.environ["LOCAL"])
    """)
    done = world.cli("run", "-q", program, cwd=inner, variables={"LOCAL": "from process"})
    assert done.stdout == "from file from process\n"
    assert "LOCAL" in world.cli("run", program, code=1).stderr


@pytest.mark.parametrize("wrong", [{"a": 1}, {1: "a"}, {"a": b"x"}, ["a"]])
def test_c166_what_is_not_text_is_refused_at_once(wrong):
    with pytest.raises(errors.InvalidError):
        cloudfn.Secret.from_dict(wrong)


def test_something_else_than_a_secret_is_refused_at_once():
    for wrong in (["name"], cloudfn.Secret.from_dict({}), [{"A": "1"}]):
        with pytest.raises(errors.InvalidError, match="secrets"):
            cloudfn.App().function(secrets=wrong)


def test_the_command_line_takes_values_from_stdin_files_and_words_and_shows_none(world):
    world.cli("secret", "create", "typed", "-", text="A=one\nB='two words'\n")
    assert "already" in world.cli("secret", "create", "typed", "A=1", code=1).stderr
    (world.folder / "s.json").write_text(json.dumps({"J": "json"}))
    (world.folder / "s.env").write_text("D=dotenv\n")
    world.cli("secret", "create", "typed", "--force", "--from-json", "s.json")
    world.cli("secret", "create", "other", "--from-dotenv", "s.env", "K=word")
    listed = world.cli("secret", "list", "--json").stdout

    assert {each["name"] for each in json.loads(listed)} >= {"typed", "other"}
    assert "json" not in listed
    assert "word" not in world.cli("secret", "list").stdout
    assert world.cli("secret", "create", "empty", code=2).returncode == 2
    world.cli("secret", "delete", "typed", "-y")
    world.cli("secret", "delete", "typed", "-y", "--allow-missing")
    assert world.cli("secret", "delete", "typed", "-y", code=1).returncode == 1


def test_no_value_is_found_in_any_file_message_or_process_list(world):
    value = "find-me-" + os.urandom(8).hex()
    program = world.write("""
        import cloudfn, os, sys
        from cloudfn import Secret
        app = cloudfn.App("searched")
        value = os.environ.get("VALUE") or sys.stdin.read().strip()
        @app.function(secrets=[Secret.from_dict({"TOKEN": value})], scaledown_window=60)
        def f(): return len(os.environ["TOKEN"])
        if __name__ == "__main__":
            app.deploy()
            print(f.remote())
    """)  # fmt: skip
    assert world.python(program, text=value).stdout.strip() == str(len(value))
    call = world.ask("call_list")
    told = [call, world.ask("app_history", name="searched"), world.ask("container_list"),
            world.ask("function_lookup", app="searched", name="f")]  # fmt: skip
    assert value not in json.dumps(told)
    for folder in (world.settings.state_dir, Path("/dev/shm")):
        for path in folder.rglob("*"):
            if path.is_file():
                assert value.encode() not in path.read_bytes(), path
    for pid in world.processes():
        for name in ("cmdline", "environ"):
            assert value.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


def os_getenv():
    return tuple(map(os.environ.get, ("OFFLINE_TOKEN", "OFFLINE_NAMED")))  # noqa: TID251


def test_secrets_are_there_offline_too():
    from cloudfn.testing import offline

    app = cloudfn.App("offline-secrets")
    secret = cloudfn.Secret.from_dict({"OFFLINE_TOKEN": "x"})

    with offline() as run, using(run.client):
        cloudfn.Secret.objects.create("named", {"OFFLINE_NAMED": "y"})
        named = cloudfn.Secret.from_name("named")
        read = app.function(secrets=[secret, named], serialized=True, name="read")(os_getenv)
        with app.run():
            assert read.remote() == ("x", "y")
    assert os_getenv() == (None, None)

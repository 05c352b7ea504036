"""`cloudfn run`: what is run, what is shown of it, and how it ends."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HEAD = """
import cloudfn
app = cloudfn.App("demo")
"""
FUNCTION = """
@app.function()
def work(x: int) -> int:
    return x
"""
ENTRYPOINT = """
@app.local_entrypoint()
def main(n: int = 1, loud: bool = False):
    print("n is", n, loud)
"""


@pytest.fixture(autouse=True)
def own_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo what running a program does to this process's imports."""
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if not name.startswith("cloudfn"):
            del sys.modules[name]
    sys.modules["__main__"] = modules["__main__"]
    sys.path[:], sys.meta_path[:] = path, finders


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., str]:
    """Write a program and return its path."""

    def write(*parts: str, name: str = "prog.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(parts))
        return str(path)

    return write


def operations(cli) -> list[str]:
    return [op for op, _ in cli.engine.asked]


def test_an_entry_point_gets_its_arguments_and_runs_with_the_app_open(cli, program):
    shown = cli("run", program(HEAD, FUNCTION, ENTRYPOINT), "--n", "7", "--loud")

    assert shown.code == 0
    assert shown.out == "n is 7 True\n"
    assert operations(cli) == ["app_open", "app_close"]
    assert cli.engine.asked[0][1]["state"] == "ephemeral"


def test_the_run_ends_with_one_line_that_sums_it_up(cli, program):
    shown = cli("run", program(HEAD, ENTRYPOINT))

    assert shown.err == "✓ 12 inputs · 1 failed · 3 containers at the peak · 0.00 s\n"


def test_quiet_shows_only_what_the_program_prints(cli, program):
    shown = cli("run", "-q", program(HEAD, ENTRYPOINT))

    assert shown.out == "n is 1 False\n"
    assert shown.err == ""


def test_output_of_containers_keeps_its_order_and_its_streams(cli, program):
    def close(**_fields):
        texts = [("stdout", "a"), ("stdout", "b\n"), ("stderr", "oops\n"), ("stdout", "c\n")]
        entries = [{"source": source, "text": text} for source, text in texts]
        entries.append({"source": "system", "container": "planner", "text": "0 → 1 containers"})
        entries.append({"source": "system", "container": "ct-1", "text": "not forked"})
        cli.engine.sink({"entries": entries})
        return {}

    cli.engine.answers["app_close"] = close
    shown = cli("run", program(HEAD, ENTRYPOINT))

    assert shown.out == "n is 1 False\nab\nc\n"
    assert shown.err.startswith("oops\nnot forked\n✓ ")


def test_the_daemon_is_started_before_the_program_is_imported(cli, program):
    file = program(HEAD, ENTRYPOINT, "raise SystemExit(0)")

    cli("run", file)

    assert cli.prestarted == ["main"]


def test_the_environment_is_that_of_the_option(cli, program):
    cli("run", "--env", "blue", program(HEAD, ENTRYPOINT))

    assert cli.prestarted == ["blue"]
    assert cli.environments == ["blue"]


def test_what_the_user_raises_is_shown_without_our_frames_and_exits_with_1(cli, program):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    raise KeyError('no')\n")

    shown = cli("run", file)

    assert shown.code == 1
    assert "KeyError: 'no'" in shown.err
    assert "prog.py" in shown.err
    assert "cloudfn/cli" not in shown.err
    assert shown.err.splitlines()[-1].startswith("✗ ")
    assert operations(cli) == ["app_open", "app_close"]


def test_our_frames_are_shown_to_those_who_ask(cli, program):
    cli.environ["CLOUDFN_TRACEBACK"] = "1"
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    raise KeyError('no')\n")

    assert "cloudfn/cli" in cli("run", file).err


def test_our_own_errors_are_a_line_and_a_hint(cli, program):
    file = program(
        HEAD,
        "@app.local_entrypoint()\ndef main():\n"
        "    raise cloudfn.exception.FunctionTimeoutError('too long', hint='Raise timeout.')\n",
    )

    shown = cli("run", file)

    assert shown.code == 1
    assert "error: too long\nhint: Raise timeout.\n" in shown.err
    assert "Traceback" not in shown.err


def test_a_program_that_fails_to_import_shows_where(cli, program):
    shown = cli("run", program(HEAD, "1 / 0\n"))

    assert shown.code == 1
    assert "ZeroDivisionError" in shown.err
    assert "prog.py" in shown.err
    assert "error: " in shown.err
    assert operations(cli) == []


def test_a_missing_file_is_an_error_without_a_traceback(cli, tmp_path):
    shown = cli("run", str(tmp_path / "nope.py"))

    assert shown.code == 1
    assert shown.err.startswith("error: There is no file")


def test_a_program_without_an_app_says_how_to_make_one(cli, program):
    shown = cli("run", program("x = 1\n"))

    assert shown.code == 1
    assert "has no App" in shown.err
    assert "cloudfn.App(" in shown.err


def test_several_things_to_run_are_listed(cli, program):
    second = ENTRYPOINT.replace("main", "other")
    shown = cli("run", program(HEAD, FUNCTION, ENTRYPOINT, second))

    assert shown.code == 1
    assert "other  (local entry point)" in shown.err
    assert operations(cli) == []


def test_one_of_several_is_run_by_its_name(cli, program):
    second = ENTRYPOINT.replace("main", "other").replace("n is", "other's n is")
    file = program(HEAD, ENTRYPOINT, second)

    assert cli("run", f"{file}::other").out == "other's n is 1 False\n"
    assert cli("run", f"{file}::app.main").out == "n is 1 False\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--n", "x"), 2, "not a valid integer"),
        (("--m", "1"), 2, "No such option: --m"),
        (("--detach",), 2, "put it before FILE"),
        (("1",), 2, "unexpected extra argument"),
    ],
)
def test_words_that_do_not_fit_are_usage_errors_before_anything_runs(
    cli, program, words, code, text
):
    shown = cli("run", program(HEAD, ENTRYPOINT), *words)

    assert shown.code == code
    assert text in shown.err
    assert operations(cli) == []


def test_a_parameter_that_no_command_line_can_give_exits_with_1(cli, program):
    file = program(HEAD, "@app.local_entrypoint()\ndef main(i: int | str): ...\n")

    shown = cli("run", file)

    assert shown.code == 1
    assert "unparseable annotation" in shown.err


def test_help_after_the_file_is_the_programs_own(cli, program):
    shown = cli("run", program(HEAD, ENTRYPOINT), "--help")

    assert shown.code == 0
    assert "--n INTEGER" in shown.out
    assert operations(cli) == []


def test_a_generator_cannot_be_run(cli, program):
    file = program(HEAD, "@app.function()\ndef g():\n    yield 1\n")

    shown = cli("run", f"{file}::g")

    assert shown.code == 1
    assert "generator" in shown.err


def test_the_result_is_written_where_it_was_asked_for(cli, program, tmp_path):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    return 'done\\n'\n")

    shown = cli("run", "-w", str(tmp_path / "out.txt"), file)

    assert shown.code == 0
    assert (tmp_path / "out.txt").read_text() == "done\n"
    assert shown.out == ""


def test_a_result_that_is_no_text_cannot_be_written(cli, program, tmp_path):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    return 3\n")

    shown = cli("run", "--write-result", str(tmp_path / "out.txt"), file)

    assert shown.code == 1
    assert "only str and bytes" in shown.err
    assert not (tmp_path / "out.txt").exists()


def test_an_async_entry_point_runs_in_a_loop_of_its_own(cli, program):
    body = "@app.local_entrypoint()\nasync def main():\n    print('async')\n"

    assert cli("run", program(HEAD, body)).out == "async\n"


def test_a_program_that_exits_has_its_own_exit_code_and_the_app_is_closed(cli, program):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    raise SystemExit(3)\n")

    assert cli("run", file).code == 3
    assert operations(cli) == ["app_open", "app_close"]


def test_a_module_is_run_by_its_name(cli, program, tmp_path):
    program("", name="pkg/__init__.py")
    program(HEAD, ENTRYPOINT, name="pkg/mod.py")

    assert cli("run", "-m", "pkg.mod", "--n", "2").out == "n is 2 False\n"


def test_ctrl_c_during_the_import_aborts(cli, program):
    shown = cli("run", program("raise KeyboardInterrupt\n"))

    assert shown.code == 130
    assert shown.err == "Aborting app initialization...\n"


def test_ctrl_c_while_the_app_is_opened_aborts(cli, program):
    def interrupted(**_fields):
        raise KeyboardInterrupt

    cli.engine.answers["app_open"] = interrupted
    shown = cli("run", program(HEAD, ENTRYPOINT))

    assert shown.code == 130
    assert "Aborting app initialization...\n" in shown.err
    assert "Traceback" not in shown.err


def test_ctrl_c_in_the_entry_point_ends_the_app_and_says_so(cli, program):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    raise KeyboardInterrupt\n")

    shown = cli("run", file)

    assert shown.code == 130
    assert shown.err.startswith(
        "Disconnecting. This ends the app in a few seconds.\nApp aborted.\n"
    )
    assert "Traceback" not in shown.err
    assert operations(cli) == ["app_open", "app_close"]


def test_ctrl_c_of_a_detached_run_leaves_the_app_and_says_how_to_end_it(cli, program):
    file = program(HEAD, "@app.local_entrypoint()\ndef main():\n    raise KeyboardInterrupt\n")

    shown = cli("run", "--detach", file)

    assert shown.code == 130
    assert "Shutting down the client." in shown.err
    assert "App ap-1 goes on" in shown.err
    assert "cloudfn app stop ap-1" in shown.err
    assert cli.engine.asked[0][1]["state"] == "detached"
    assert operations(cli) == ["app_open"]


def test_deploy_tells_the_revision_and_the_functions(cli, program):
    shown = cli("deploy", program(HEAD, FUNCTION), "--tag", "v1", "--keep-overrides", "--json")

    assert shown.document == {
        "app_id": "ap-1",
        "name": "demo",
        "revision": 1,
        "changed": True,
        "functions": ["work"],
        "urls": {},
    }
    asked = cli.engine.asked[0][1]
    assert asked["state"] == "deployed"
    assert asked["keep_overrides"] is True
    assert asked["revision"]["labels"]["tag"] == "v1"


def test_a_deploy_without_changes_says_that_it_was_skipped(cli, program):
    cli.engine.answers["app_open"] = {
        "app_id": "ap-1",
        "revision": 4,
        "changed": False,
        "functions": {},
    }

    shown = cli("deploy", program(HEAD, FUNCTION))

    assert shown.code == 0
    assert "skipped: nothing changed. demo is v4" in shown.err


def test_the_name_of_the_deploy_wins_over_that_of_the_app(cli, program):
    cli("deploy", program(HEAD, FUNCTION), "--name", "other")

    assert cli.engine.asked[0][1]["name"] == "other"


def test_an_app_without_a_name_cannot_be_deployed(cli, program):
    shown = cli("deploy", program("import cloudfn\napp = cloudfn.App()\n"))

    assert shown.code == 1
    assert "name" in shown.err
    assert operations(cli) == []


def test_of_several_apps_the_named_one_is_deployed(cli, program):
    file = program("import cloudfn\none = cloudfn.App('one')\ntwo = cloudfn.App('two')\n")

    unclear = cli("deploy", file)
    cli("deploy", f"{file}::two")

    assert unclear.code == 1
    assert "one, two" in unclear.err
    assert [fields["name"] for _, fields in cli.engine.asked] == ["two"]


def test_an_unknown_strategy_is_a_usage_error_before_the_program_is_imported(cli, program):
    shown = cli("deploy", program("raise KeyError\n"), "--strategy", "slow")

    assert shown.code == 2
    assert cli.prestarted == []

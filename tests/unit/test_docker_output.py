"""What people see of a build, and why it failed."""

from cloudfn.providers.docker.output import BuildOutput

_FAILED = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:f30a
#1 transferring dockerfile: 209B done
#1 DONE 0.0s

#4 [1/3] FROM closed.example/base:3.11
#4 CACHED

#5 [2/3] RUN echo one
#5 0.384 one
#5 DONE 1.4s

#7 [3/3] RUN echo two &&   exit 3
#7 0.326 two
#7 0.330 s3cret, and S
#7 ERROR: executor failed running [/bin/sh -c echo two &&   exit 3]: exit code: 3
------
 > [3/3] RUN echo two &&   exit 3:
------
executor failed running [/bin/sh -c echo two &&   exit 3]: exit code: 3
"""


def _read(text: str, secrets: tuple[str, ...] = ()) -> tuple[BuildOutput, list[str]]:
    output = BuildOutput(secrets)
    shown = [output.line(each) for each in text.splitlines()]
    return output, [each for each in shown if each is not None]


def test_people_see_steps_and_what_they_print():
    _, shown = _read(_FAILED)

    assert shown == [
        "[1/3] FROM closed.example/base:3.11",
        "  built already",
        "[2/3] RUN echo one",
        "  one",
        "[3/3] RUN echo two &&   exit 3",
        "  two",
        "  s3cret, and S",
        "  ERROR: executor failed running [/bin/sh -c echo two &&   exit 3]: exit code: 3",
    ]


def test_a_failure_names_the_step_and_ends_with_its_output():
    output, _ = _read(_FAILED)

    assert output.failure().splitlines() == [
        "[3/3] RUN echo two &&   exit 3: "
        "executor failed running [/bin/sh -c echo two &&   exit 3]: exit code: 3",
        "  two",
        "  s3cret, and S",
    ]


def test_secrets_are_in_neither():
    output, shown = _read(_FAILED, ("S", "s3cret", ""))

    assert "  ***, and ***" in shown
    assert "s3cret" not in output.failure()


def test_only_the_last_lines_of_a_failed_step_are_repeated():
    lines = "\n".join(f"#7 0.1 line {number}" for number in range(100))
    output, _ = _read(f"#7 [1/1] RUN many\n{lines}\n#7 ERROR: exit code: 1")

    assert output.failure().splitlines()[1] == "  line 80"


def test_the_first_of_several_failures_counts():
    output, _ = _read("#1 [a 1/1] RUN x\n#2 [b 1/1] RUN y\n#2 ERROR: no\n#1 ERROR: canceled")

    assert output.failure() == "[b 1/1] RUN y: no"


def test_a_base_that_is_not_there_is_told():
    output, shown = _read("#3 [internal] load metadata for x/y:1\n#3 ERROR: no such host")

    assert output.failure() == "[internal] load metadata for x/y:1: no such host"
    assert shown == ["  ERROR: no such host"]


def test_what_belongs_to_no_step_is_told_where_no_step_failed():
    output, _ = _read("#1 [internal] load\n#1 DONE 0.0s\ndockerfile parse error line 3: RUNN")

    assert output.failure() == "dockerfile parse error line 3: RUNN"


def test_steps_are_known_where_docker_pads_their_numbers():
    _, shown = _read("#1 [stage-0  2/11] RUN x\n#2 [ 3/11] RUN y\n#3 [other  4/11] RUN z")

    assert shown == ["[2/11] RUN x", "[3/11] RUN y", "[other  4/11] RUN z"]


def test_what_the_recipe_adds_to_a_step_is_not_shown():
    _, shown = _read(
        "#1 [stage-0 2/2] RUN --mount=type=cache,target=/c --mount=type=secret,id=a"
        " . /run/secrets/a && pip install six"
    )

    assert shown == ["[2/2] RUN pip install six"]

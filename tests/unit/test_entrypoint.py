"""Choosing what to run, and reading its arguments from the command line."""

from __future__ import annotations

import datetime
import textwrap
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest

from cloudfn.sdk.entrypoint import (
    Candidate,
    Kind,
    UsageError,
    choose,
    parse_arguments,
    render_help,
    wants_help,
)

if TYPE_CHECKING:
    from decimal import Decimal


def candidate(name: str, kind: Kind = "function", *, in_module: bool = True) -> Candidate:
    return Candidate(name, kind, in_module, object())


def parsed(fn: Callable[..., Any], *argv: str) -> dict[str, Any]:
    args, kwargs = parse_arguments(fn, argv)
    assert args == ()
    return kwargs


def refusal(fn: Callable[..., Any], *argv: str) -> tuple[int, str]:
    with pytest.raises(UsageError) as caught:
        parse_arguments(fn, argv)
    return caught.value.exit_code, caught.value.message


# ------------------------------------------------------------------------------------ choosing


@pytest.mark.parametrize(
    "ranked",
    [
        [
            candidate("main", "entrypoint"),
            candidate("f"),
            candidate("g"),
            candidate("other", "entrypoint", in_module=False),
        ],
        [candidate("f"), candidate("other", "entrypoint", in_module=False)],
        [candidate("Cls.f", "method"), candidate("g", in_module=False)],
        [candidate("other", "entrypoint", in_module=False), candidate("g", in_module=False)],
        [candidate("g", in_module=False)],
    ],
)
def test_without_a_name_the_nearest_single_candidate_is_chosen(ranked: list[Candidate]) -> None:
    assert choose(ranked, None) is ranked[0]
    assert choose(ranked[::-1], None) is ranked[0]


@pytest.mark.parametrize(
    "tied",
    [
        [candidate("a", "entrypoint"), candidate("b", "entrypoint"), candidate("f")],
        [candidate("a"), candidate("b"), candidate("c", "entrypoint", in_module=False)],
        [candidate("a"), candidate("Cls.b", "method")],
        [candidate("a", in_module=False), candidate("b", in_module=False)],
    ],
)
def test_without_a_name_several_of_a_rank_are_listed_and_refused(tied: list[Candidate]) -> None:
    with pytest.raises(UsageError, match="Specify a function or local entry point") as caught:
        choose(tied, None)
    assert caught.value.exit_code == 1
    for each in tied:
        assert f"  {each.name}  (" in caught.value.message


def test_a_program_without_anything_to_run_is_refused() -> None:
    for wanted in (None, "f"):
        with pytest.raises(UsageError, match="no function and no local entry point") as caught:
            choose([], wanted)
        assert caught.value.exit_code == 1


def test_a_name_chooses_whatever_has_it() -> None:
    all_ = [candidate("main", "entrypoint"), candidate("f"), candidate("Cls.m", "method")]
    assert [choose(all_, each.name) for each in all_] == all_


def test_an_unknown_name_lists_the_known_ones_and_suggests_a_near_one() -> None:
    with pytest.raises(UsageError, match="no 'count_prime' to run") as caught:
        choose([candidate("main", "entrypoint"), candidate("count_primes")], "count_prime")
    assert caught.value.exit_code == 1
    assert "Did you mean count_primes?" in caught.value.message
    assert "main  (local entry point)" in caught.value.message


def test_a_class_stands_for_its_only_method() -> None:
    only = candidate("Model.predict", "method")
    assert choose([candidate("f"), only, candidate("Other.x", "method")], "Model") is only


def test_a_class_with_several_methods_needs_one_of_them() -> None:
    methods = [candidate("Model.predict", "method"), candidate("Model.train", "method")]
    with pytest.raises(UsageError, match="specify a specific method of Model") as caught:
        choose([*methods, candidate("f")], "Model")
    assert caught.value.exit_code == 2
    assert "Model.train" in caught.value.message


# ------------------------------------------------------------------------------------- parsing


def typed(
    dt: datetime.datetime,
    i: int,
    f: float,
    s: str,
    b: bool,
) -> None: ...


def test_each_type_is_read_by_its_annotation() -> None:
    argv = ["--dt", "2022-10-31", "--i=200", "--f", "1e3", "--s=a=b", "--b"]
    assert parsed(typed, *argv) == {
        "dt": datetime.datetime(2022, 10, 31),  # noqa: DTZ001 - as it was written
        "i": 200,
        "f": 1000.0,
        "s": "a=b",
        "b": True,
    }


@pytest.mark.parametrize("text", ["2022-10-31T12:30:05", "2022-10-31 12:30:05"])
def test_a_date_may_have_a_time(text: str) -> None:
    def fn(dt: datetime.datetime) -> None: ...

    moment = datetime.datetime(2022, 10, 31, 12, 30, 5)  # noqa: DTZ001 - as it was written
    assert parsed(fn, "--dt", text) == {"dt": moment}


def test_what_is_not_given_is_left_to_the_default() -> None:
    def fn(n: int = 10, *, flag: bool = True, when: datetime.datetime | None = None) -> None: ...

    assert parsed(fn) == {}
    assert parsed(fn, "--n", "3", "--no-flag") == {"n": 3, "flag": False}


def optional_union(i: typing.Optional[int] = None) -> None: ...  # noqa: UP045, TID251 - old style


def optional_bar(i: int | None = None) -> None: ...


def optional_reversed(i: typing.Union[None, int] = None) -> None: ...  # noqa: UP007, RUF036 - old style


@pytest.mark.parametrize("fn", [optional_union, optional_bar, optional_reversed])
def test_an_optional_type_is_read_as_the_type(fn: Callable[..., Any]) -> None:
    assert parsed(fn) == {}
    assert parsed(fn, "--i", "20") == {"i": 20}


def unannotated(a, b=3, c=1.5, d=False, e=None, f="x"): ...


def test_without_an_annotation_the_default_tells_the_type_or_it_is_text() -> None:
    argv = ["--a", "1", "--b", "2", "--c", "3", "--d", "--e", "5", "--f", "6"]
    expected = {"a": "1", "b": 2, "c": 3.0, "d": True, "e": "5", "f": "6"}
    assert parsed(unannotated, *argv) == expected


def literal(mode: Literal["fast", "slow"], level: Literal[1, 2] | None = None) -> None: ...


def test_a_literal_takes_its_choices_and_no_others() -> None:
    assert parsed(literal, "--mode", "fast", "--level=2") == {"mode": "fast", "level": 2}
    code, message = refusal(literal, "--mode", "medium")
    assert code == 2
    assert "'medium' is not one of 'fast', 'slow'" in message
    assert refusal(literal, "--mode", "fast", "--level", "3")[0] == 2


def test_names_with_underscores_are_written_with_hyphens() -> None:
    def fn(max_lines: int, dry_run: bool = False) -> None: ...

    assert parsed(fn, "--max-lines", "3", "--dry-run") == {"max_lines": 3, "dry_run": True}
    code, message = refusal(fn, "--max_lines", "3")
    assert code == 2
    assert "Did you mean --max-lines?" in message


def variadic(*words: str) -> None: ...


def test_a_function_of_args_alone_gets_the_raw_words() -> None:
    argv = ["--foo", "1", "-x", "--", "bar=2"]
    assert parse_arguments(variadic, argv) == (tuple(argv), {})
    assert parse_arguments(variadic, []) == ((), {})


def test_negative_numbers_and_empty_texts_are_values() -> None:
    def fn(n: int, s: str) -> None: ...

    assert parsed(fn, "--n", "-5", "--s", "") == {"n": -5, "s": ""}
    assert parsed(fn, "--n=-5", "--s=") == {"n": -5, "s": ""}


def test_the_last_of_an_option_given_twice_counts() -> None:
    def fn(n: int = 0, flag: bool = False) -> None: ...

    argv = ["--n", "1", "--flag", "--n=2", "--no-flag"]
    assert parsed(fn, *argv) == {"n": 2, "flag": False}


def test_a_parameter_named_like_the_opposite_of_a_flag_keeps_its_name() -> None:
    def fn(cache: bool = True, no_cache: int = 0) -> None: ...

    assert parsed(fn, "--no-cache", "5") == {"no_cache": 5}


def test_positional_only_parameters_are_passed_by_position() -> None:
    def fn(a: int = 1, b: int = 2, /, c: int = 3) -> None: ...

    assert parse_arguments(fn, ["--b", "5", "--c", "6"]) == ((1, 5), {"c": 6})


def test_the_receiver_of_a_method_is_no_option() -> None:
    class Model:
        def predict(self, n: int) -> None: ...

    assert parse_arguments(Model().predict, ["--n", "1"]) == ((), {"n": 1})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "Missing options '--n', '--flag' / '--no-flag'."),
        (["--flag"], "Missing option '--n'."),
        (["--n", "x", "--flag"], "Invalid value for '--n': 'x' is not a valid integer."),
        (["--n", "1.5"], "not a valid integer"),
        (["--r", "x"], "not a valid number"),
        (["--when", "31.10.2022"], "not a valid date and time"),
        (["--n"], "Option '--n' requires an argument."),
        (["--n", "--flag"], "Option '--n' requires an argument."),
        (["--flag=yes"], "Option '--flag' does not take a value."),
        (["--m", "1"], "No such option: --m."),
        (["3"], "unexpected extra argument (3)"),
        (["-n", "3"], "unexpected extra argument (-n)"),
        (["--", "3"], "unexpected extra argument (--)"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_exit_code_2(argv: list[str], words: str) -> None:
    def fn(n: int, flag: bool, r: float = 0.5, when: datetime.datetime | None = None) -> None: ...

    code, message = refusal(fn, *argv)
    assert code == 2
    assert words in message


def union(i: int | str) -> None: ...


def listed(i: list[int]) -> None: ...


def literal_of_flags(i: Literal[True, False]) -> None: ...


def literal_mixed(i: Literal["a", 1]) -> None: ...


def unknown_name(i: Decimal) -> None: ...


def wide_optional(i: int | str | None = None) -> None: ...


def default_list(i=[]): ...  # noqa: B006 - what users write


@pytest.mark.parametrize(
    ("fn", "annotation"),
    [
        (union, "int | str"),
        (listed, "list[int]"),
        (literal_of_flags, "Literal[True, False]"),
        (literal_mixed, "Literal['a', 1]"),
        (unknown_name, "Decimal"),
        (wide_optional, "int | str | None"),
        (default_list, "list"),
    ],
)
def test_an_annotation_that_no_word_can_fill_is_refused_with_exit_code_1(
    fn: Callable[..., Any], annotation: str
) -> None:
    code, message = refusal(fn, "--i", "3")
    assert code == 1
    assert "Parameter `i` has unparseable annotation: " in message
    assert annotation in message


def test_args_beside_others_and_keyword_collectors_are_refused_with_exit_code_1() -> None:
    def both(n: int, *rest: str) -> None: ...

    def collector(**options: str) -> None: ...

    assert refusal(both)[0] == 1
    assert "`*rest` has to be the only one" in refusal(both)[1]
    assert refusal(collector)[0] == 1
    assert "`**options`" in refusal(collector)[1]


def test_a_name_for_type_checkers_alone_spoils_no_other_annotation() -> None:
    def fn(n: "int") -> "Decimal": ...  # type: ignore[empty-body]  # noqa: UP037 - both kinds

    assert parsed(fn, "--n", "3") == {"n": 3}


def test_annotations_that_are_objects_are_read_as_those_that_are_strings() -> None:
    scope: dict[str, Any] = {}
    code = compile("def fn(n: int, m: int | None = None): ...", "eager", "exec", dont_inherit=True)
    exec(code, scope)
    fn = scope["fn"]
    assert isinstance(fn, types.FunctionType)
    assert parsed(fn, "--n", "1", "--m", "2") == {"n": 1, "m": 2}


# ---------------------------------------------------------------------------------------- help


def documented(
    count: int,
    max_lines: int = 10,
    verbose: bool = False,
    mode: Literal["fast", "slow"] = "fast",
    when: datetime.datetime | None = None,
) -> None:
    """Counts things.

    Slowly.
    """


def test_help_shows_the_docstring_parameters_types_and_defaults() -> None:
    assert render_help("main", documented, "cloudfn run things.py") == textwrap.dedent(
        """\
        Usage: cloudfn run things.py::main [OPTIONS]

          Counts things.

          Slowly.

        Options:
          --count INTEGER           [required]
          --max-lines INTEGER       [default: 10]
          --verbose / --no-verbose  [default: no-verbose]
          --mode [fast|slow]        [default: fast]
          --when DATETIME
          --help                    Show this text and exit.
        """
    )


def test_help_for_raw_words_says_so() -> None:
    assert "things.py::main [ARGS]..." in render_help("main", variadic, "cloudfn run things.py")


def test_help_is_wanted_where_no_parameter_has_that_name() -> None:
    def own(help: str = "") -> None: ...

    assert wants_help(documented, ["--count", "1", "--help"])
    assert not wants_help(documented, ["--count", "1"])
    assert not wants_help(own, ["--help", "x"])
    assert wants_help(variadic, ["--help"])
    assert not wants_help(variadic, ["ls", "--help"])

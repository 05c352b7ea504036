"""Patterns of files to leave out: what each matches, as Docker reads a `.dockerignore`."""

from pathlib import Path

import pytest

from cloudfn.errors import InvalidError
from cloudfn.sdk.patterns import FilePatternMatcher, ignore_of

#: patterns, paths that match, paths that do not
CASES = {
    "a name": (["a.txt"], ["a.txt", "a.txt/below"], ["b/a.txt", "a.txt.bak", "xa.txt"]),
    "a star": (["*.log"], ["a.log", ".log"], ["b/a.log", "a.log.gz"]),
    "a star within": (["data/*/x"], ["data/a/x", "data/a/x/y"], ["data/x", "data/a/b/x"]),
    "two stars": (["**/*.log"], ["a.log", "b/a.log", "b/c/a.log"], ["a.txt", "b/log"]),
    "two stars within": (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b"], ["b", "ab"]),
    "two stars at the end": (["a/**"], ["a/b", "a/b/c"], ["b/a"]),
    "a question mark": (["?.py"], ["a.py"], ["ab.py", ".py", "/a.py"]),
    "a class": (["[a-c].py", "[!x]y"], ["a.py", "c.py", "zy"], ["d.py", "xy"]),
    "a folder": (["build/"], ["build", "build/lib/x"], ["src/build"]),
    "slashes and dots": (["/./a//b"], ["a/b"], ["b"]),
    "an exception": (["*.md", "!README.md"], ["a.md"], ["README.md"]),
    "an exception of an exception": (["*", "!a*", "ab"], ["b", "ab"], ["a", "ac"]),
    "an exception below": (["data", "!data/keep"], ["data", "data/x"], ["data/keep/x"]),
    "a backslash": ([r"\*"], ["*"], ["a"]),
    "dots and plus signs": (["a.b+c"], ["a.b+c"], ["axb+c", "a.bbc"]),
    "nothing": (["", "  "], [], ["a"]),
}


@pytest.mark.parametrize("what", sorted(CASES))
def test_patterns_match_as_in_a_dockerignore(what):
    patterns, matching, others = CASES[what]
    matcher = FilePatternMatcher(*patterns)

    assert [path for path in matching if not matcher(Path(path))] == []
    assert [path for path in others if matcher(Path(path))] == []


def test_the_opposite_matches_everything_else():
    python_only = ~FilePatternMatcher("**/*.py")

    assert not python_only(Path("a/b.py"))
    assert python_only(Path("a/b.txt"))
    assert (~python_only)(Path("a/b.py"))


def test_a_file_has_one_pattern_on_each_line(tmp_path):
    file = tmp_path / ".dockerignore"
    file.write_text("# what is big\n*.bin\n\n!small.bin\n")
    matcher = FilePatternMatcher.from_file(file)

    assert matcher(Path("a.bin"))
    assert not matcher(Path("small.bin"))
    with pytest.raises(InvalidError, match="cannot be read"):
        FilePatternMatcher.from_file(tmp_path / "nowhere")


@pytest.mark.parametrize("pattern", ["../a", "a/../../b", "[z-a]"])
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    with pytest.raises(InvalidError) as caught:
        FilePatternMatcher(pattern)
    assert pattern in caught.value.message


def test_ignore_takes_patterns_or_a_function():
    assert ignore_of(["*.log"], "it")(Path("a.log"))
    assert ignore_of(lambda path: path.suffix == ".x", "it")(Path("a.x"))
    assert not ignore_of(None, "it")(Path("a"))
    with pytest.raises(InvalidError, match="it must be a list"):
        ignore_of("*.log", "it")

"""How files of variables are read."""

import pytest

from cloudfn.errors import InvalidError
from cloudfn.sdk.dotenv import find, parse

TEXT = """# a comment
A=1
export B = two words   # a comment

C='as it is \\n # "yes"'
D="line\\none, \\"quoted\\" \\\\"
E="over
two lines" # comment
F=
G=a#b
H_1.x-y=end"""


def test_every_form_of_a_line_is_read():
    assert parse(TEXT, "here") == {
        "A": "1",
        "B": "two words",
        "C": 'as it is \\n # "yes"',
        "D": 'line\none, "quoted" \\',
        "E": "over\ntwo lines",
        "F": "",
        "G": "a#b",
        "H_1.x-y": "end",
    }


@pytest.mark.parametrize(
    "line", ["novalue", "1A=x", "A='open", 'A="open', "A='x'y", "=x", "A B=x", "- x"]
)
def test_a_line_that_makes_no_sense_is_named_by_number_and_not_shown(line):
    with pytest.raises(InvalidError, match=r"Line 3 of \.env") as caught:
        parse(f"A=1\n\n{line}\n", ".env")

    assert line not in str(caught.value)


def test_the_nearest_file_upward_is_found(tmp_path):
    (tmp_path / ".env").touch()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)

    assert find(inner, ".env") == tmp_path / ".env"
    assert find(inner, ".no-such-file-anywhere") is None

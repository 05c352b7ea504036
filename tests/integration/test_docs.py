"""The documents' programs and command lines, saved and typed as a reader would.

A python block whose first line is `# name.py` is that file. The lines of a console block that
begin with `$ ` are run in the order in which they stand, and each has to succeed.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shell import Shell, open_shell

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/guide.md", "docs/testing.md")
#: lines for a reader's own machine: they make and test the very checkout that this runs in
SKIPPED = ("make", "git clone", "pip install")
#: and lines that need an account of AWS
IN_A_CLOUD = re.compile(r"cloudfn (infra|destroy)\b|.* --provider aws\b")
#: what some lines have to print, beside succeeding
SHOWS = {
    "cloudfn run primes.py --n 200000": "17984",
    "python ask.py": "9592",
    "cloudfn run squares.py --n 20": "2470",
    "python inline.py": "42",
    "python elsewhere.py": "[1, 4, 9]",
    "python later.py": "[1, 4]",
    "cloudfn run flaky.py": "arguments: ('3 is odd', 3)",
    "cloudfn run model.py": "[0, 2, 4] 100",
    "cloudfn run model.py::Model.predict --size large --x 4": "80",
    "cloudfn run film.py": "328350",
    "cloudfn run nested.py": "15",
    "cloudfn run progress.py": "31",
    "cloudfn run site.py": "hello from a container",
    "cloudfn serve site.py --timeout 0.1": "",
    "cloudfn run pool.py": "1023",
    "cloudfn run crowd.py": "256",
    "python reminders.py": "285",
    "cloudfn run shared.py": "done: 3",
    "cloudfn run notes.py": "rain",
    "cloudfn run guarded.py": "6 letters on the earth",
}

_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# (\w+\.py)\n")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def programs(text: str) -> dict[str, str]:
    """Return the python blocks that have a name."""
    named = [
        (found.group(1), body) for body in blocks(text, "python") if (found := _NAME.match(body))
    ]
    return dict(named)


def lines(text: str) -> list[str]:
    """Return what a reader types, in order."""
    typed = [line[2:] for body in blocks(text, "console") for line in body.splitlines()
             if line.startswith("$ ")]  # fmt: skip
    return [line for line in typed if not line.startswith(SKIPPED) and not IN_A_CLOUD.match(line)]


@pytest.fixture
def shell() -> Iterator[Shell]:
    with open_shell() as opened:
        yield opened


@pytest.mark.parametrize("document", DOCUMENTS)
def test_everything_that_a_document_shows_works(shell, document):
    text = (ROOT / document).read_text()
    for name, program in programs(text).items():
        shell.write(name, program)
    assert lines(text), "a document without a line to type"

    for line in lines(text):
        done = shell.run(line)
        assert done.code == 0, done
        assert SHOWS.get(line, "") in done.out, done


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_block_compiles(document):
    text = (ROOT / document).read_text()

    for number, body in enumerate(blocks(text, "python")):
        compile(body, f"{document}, block {number}", "exec")


def test_every_expected_text_belongs_to_a_line_that_is_run():
    typed = {line for document in DOCUMENTS for line in lines((ROOT / document).read_text())}

    assert set(SHOWS) - typed == set()


def test_every_program_that_a_line_names_is_in_its_document():
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        named = {name for line in lines(text) for name in re.findall(r"\b(\w+\.py)\b", line)}
        assert named - set(programs(text)) == set(), document

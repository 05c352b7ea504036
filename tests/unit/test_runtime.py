"""What the versions of two Pythons mean for code that travels between them."""

import pytest

from cloudfn.errors import InvalidError
from cloudfn.model.runtime import check_minor


@pytest.mark.parametrize("theirs", ["3.11.7", "3.11.2", "3.11"])
def test_patches_of_one_version_understand_each_other(theirs):
    assert check_minor("3.11.7", theirs, ["f"], ["f"]) is None


def test_functions_of_a_file_run_under_another_python_with_a_warning():
    told = check_minor("3.11.7", "3.12.1", ["f", "g"], [])

    assert told is not None
    assert told.startswith("The image of f, g has Python 3.12, and this is 3.11: lambdas")


def test_a_function_that_goes_by_value_is_refused_by_name():
    with pytest.raises(
        InvalidError, match=r"^g goes by value, from Python 3\.13 to .* 3\.9"
    ) as caught:
        check_minor("3.13.0", "3.9.1", ["f", "g"], ["g"])

    assert 'python_version="3.13"' in str(caught.value.hint)

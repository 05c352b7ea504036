"""What a rehearsal needs of a machine."""

import pytest

from cloudfn.errors import AuthError
from cloudfn.rehearsal import life


def test_only_root_can_rehearse_and_others_are_told_what_to_do():
    with pytest.raises(AuthError) as caught:
        life.check(1000)
    assert "root" in caught.value.message
    assert "sudo" in (caught.value.hint or "")

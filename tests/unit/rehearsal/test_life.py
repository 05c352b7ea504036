"""What a rehearsal needs of a machine."""

import socket

import pytest

from cloudfn.errors import AuthError, InvalidError
from cloudfn.rehearsal import life


def test_only_root_can_rehearse_and_others_are_told_what_to_do():
    with pytest.raises(AuthError) as caught:
        life.check(1000)
    assert "root" in caught.value.message
    assert "sudo" in (caught.value.hint or "")


def test_a_port_at_which_somebody_listens_is_not_taken_for_the_rehearsals():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(InvalidError, match=str(port)):
            life.check_port(port)
    life.check_port(port)


def test_a_name_that_aws_would_not_take_is_refused():
    with pytest.raises(InvalidError, match="'Main_2' is no name of an environment on AWS"):
        life.check(0, "Main_2")

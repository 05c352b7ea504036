"""What every store of secrets promises, and what the one on disk promises beyond."""

import pytest

from cloudfn.errors import DataLossError
from cloudfn.providers.local.secrets import LocalSecrets
from cloudfn.testing.memory_secrets import MemorySecrets

KEY = bytes(range(32))


@pytest.fixture(params=["local", "memory"])
def secrets(request, tmp_path):
    memory = request.param == "memory"
    store = MemorySecrets() if memory else LocalSecrets(tmp_path / "secrets.db", KEY)
    yield store
    store.close()


def test_what_was_written_last_is_read(secrets):
    secrets.write("st-1", {"A": "1"}, 1.0)
    secrets.write("st-2", {"B": "ü\n"}, 2.0)
    secrets.write("st-1", {"A": "2"}, 3.0)

    assert secrets.read(["st-2", "st-x", "st-1"]) == [{"B": "ü\n"}, None, {"A": "2"}]
    assert secrets.list() == {"st-1": 3.0, "st-2": 2.0}


def test_what_is_deleted_is_gone(secrets):
    secrets.write("st-1", {"A": "1"}, 1.0)
    secrets.delete(["st-1", "st-x"])

    assert secrets.read(["st-1"]) == [None]
    assert secrets.list() == {}


def test_no_file_shows_a_name_or_a_value(tmp_path):
    store = LocalSecrets(tmp_path / "secrets.db", KEY)
    store.write("st-1", {"TOKEN_NAME": "sesame-open"}, 1.0)
    store.write("st-1", {"TOKEN_NAME": "sesame-again"}, 2.0)
    store.close()

    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"st-1" in everything
    assert b"sesame" not in everything
    assert b"TOKEN_NAME" not in everything
    assert (tmp_path / "secrets.db").stat().st_mode & 0o777 == 0o600


def test_another_key_reads_nothing(tmp_path):
    store = LocalSecrets(tmp_path / "secrets.db", KEY)
    store.write("st-1", {"A": "1"}, 1.0)
    store.close()

    other = LocalSecrets(tmp_path / "secrets.db", bytes(32))
    with pytest.raises(DataLossError, match="cannot be decrypted"):
        other.read(["st-1"])
    other.close()


def test_a_sealed_row_does_not_open_under_another_id(tmp_path):
    store = LocalSecrets(tmp_path / "secrets.db", KEY)
    store.write("st-1", {"A": "1"}, 1.0)
    store._db.execute("UPDATE secrets SET secret_id = 'st-2'")

    with pytest.raises(DataLossError):
        store.read(["st-2"])
    store.close()

"""What every store of secrets promises, and what the one on disk promises beyond."""

import pytest

from cloudfn.errors import DataLossError
from cloudfn.providers.aws.secrets import SsmSecrets
from cloudfn.providers.local.secrets import LocalSecrets
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.memory_secrets import MemorySecrets

KEY = bytes(range(32))


def made(kind, tmp_path):
    match kind:
        case "memory":
            return MemorySecrets()
        case "local":
            return LocalSecrets(tmp_path / "secrets.db", KEY)
    aws = FakeAws(knobs=Knobs.calm() if kind == "calm aws" else None, seed=4)
    return SsmSecrets(aws.clients(10), "main", aws.clock)


@pytest.fixture(params=["local", "memory", "calm aws", "aws"])
def secrets(request, tmp_path):
    store = made(request.param, tmp_path)
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


def test_values_may_be_anything_a_variable_can_be(secrets):
    values = {
        "EMPTY": "",
        "BRACES": "{{ x }} {{ssm:/a}}",
        "LINES": "a\nb\t\r",
        "OTHER": "☃ \U0001f512",
    }
    secrets.write("st-1", values, 1.5)
    secrets.write("st-2", {}, 2.0)

    assert secrets.read(["st-1", "st-2"]) == [values, {}]
    assert secrets.list() == {"st-1": 1.5, "st-2": 2.0}


def test_there_may_be_many(secrets):
    ids = [f"st-{number}" for number in range(63)]
    for number, secret_id in enumerate(ids):
        secrets.write(secret_id, {"N": str(number)}, float(number))

    asked = [*reversed(ids), "st-x", ids[0]]
    expected = [{"N": str(number)} for number in reversed(range(63))]
    assert secrets.read(asked) == [*expected, None, {"N": "0"}]
    assert secrets.list() == {f"st-{number}": float(number) for number in range(63)}
    secrets.delete(ids[1:])
    assert secrets.list() == {"st-0": 0.0}
    assert secrets.read([]) == []


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

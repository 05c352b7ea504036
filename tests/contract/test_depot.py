"""What depots promise, in memory and on an S3 that is as nasty as it may be."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from cloudfn.errors import DataLossError, NotFoundError
from cloudfn.providers.aws.depot import S3Depot
from cloudfn.sdk.bundle import BundleFile, digest_of, empty
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.memory_depot import MemoryDepot
from cloudfn.wire.messages import BlobRef

KEY = bytes(range(32))
#: the least that S3 takes, so that files of some MiB have several
PART = 5 << 20
SIZES = [0, 1, 65_536, PART - 32, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 12_345]


@pytest.fixture(params=["memory", "calm aws", "aws"])
def both(request):
    """Give the depot as a client and as a machine see it."""
    if request.param == "memory":
        depot = MemoryDepot()
        return depot, depot
    aws = FakeAws(knobs=Knobs.calm() if request.param == "calm aws" else None, seed=2)
    bucket = aws.make_bucket()
    client, machine = (
        S3Depot(
            aws.clients(),
            bucket,
            lambda: KEY,
            writes_results=results,
            clock=aws.clock,
            random=Random(1),
            part=PART,
        )
        for results in (False, True)
    )
    return client, machine


@pytest.fixture
def client(both):
    return both[0]


@pytest.fixture
def machine(both):
    return both[1]


def payload(folder, size, name="fc-1/0123456789abcdef"):
    """Return (reference, file, content) of a payload."""
    content = Random(size).randbytes(size)
    file = folder / f"payload-{size}"
    file.write_bytes(content)
    return BlobRef(name, size, durable=True), file, content


def sources(folder, files):
    """Write files, those that begin with #! as executable ones; return the bundle's digest."""
    from hashlib import sha256

    hashes, found = {}, []
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in sorted(files.items()):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        executable = content.startswith(b"#!")
        file.chmod(0o755 if executable else 0o644)
        hashes[path] = len(content), sha256(content).digest()
        found.append(BundleFile(path, file, executable))
    return digest_of(found, hashes)


def files_in(folder):
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }


# --------------------------------------------------------------------------------------- payloads


@pytest.mark.parametrize("size", SIZES)
def test_what_a_client_stores_a_machine_fetches(client, machine, tmp_path, size):
    ref, file, content = payload(tmp_path, size)
    client.store(ref, file)

    machine.fetch(ref, tmp_path / "there" / "copy")

    assert (tmp_path / "there" / "copy").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["copy"]


@pytest.mark.parametrize("size", [0, 100_000, PART + 1])
def test_what_a_machine_stores_a_client_fetches_and_other_machines(client, machine, tmp_path, size):
    ref, file, content = payload(tmp_path, size)
    machine.store(ref, file)

    client.fetch(ref, tmp_path / "for the client")
    machine.fetch(ref, tmp_path / "for a function that called it")

    assert (tmp_path / "for the client").read_bytes() == content
    assert (tmp_path / "for a function that called it").read_bytes() == content


def test_the_first_content_of_a_name_stays(client, machine, tmp_path):
    for size in (1_000, PART + 1):
        ref, file, content = payload(tmp_path, size, f"fc-1/r{size}")
        client.store(ref, file)
        file.write_bytes(bytes(size))
        client.store(ref, file)

        machine.fetch(ref, tmp_path / f"copy-{size}")
        assert (tmp_path / f"copy-{size}").read_bytes() == content


def test_what_is_not_there_leaves_nothing_behind(client, machine, tmp_path):
    ref, file, _ = payload(tmp_path, 1_000)
    with pytest.raises(DataLossError):
        machine.fetch(ref, tmp_path / "there" / "copy")

    client.store(ref, file)
    client.delete([ref])
    client.delete([ref])
    client.delete([])
    with pytest.raises(DataLossError):
        machine.fetch(ref, tmp_path / "there" / "copy")
    assert files_in(tmp_path).keys() == {"payload-1000"}


def test_a_payload_of_another_size_is_not_the_one(client, machine, tmp_path):
    ref, file, _ = payload(tmp_path, 1_000)
    client.store(ref, file)

    for size in (999, 1_001, 0):
        with pytest.raises(DataLossError):
            machine.fetch(ref._replace(size=size), tmp_path / "copy")
        with pytest.raises(DataLossError):
            client.store(BlobRef("fc-2/r", size, durable=True), file)
    with pytest.raises(DataLossError):
        client.store(ref, tmp_path / "nowhere")
    assert not (tmp_path / "copy").exists()


def test_by_the_hundred_they_are_deleted_alone(client, machine, tmp_path):
    refs = []
    for number in range(12):
        ref, file, _ = payload(tmp_path, 100 + number, f"fc-1/r{number}")
        client.store(ref, file)
        refs.append(ref)
    unknown = [BlobRef(f"fc-2/r{number}", 1, durable=True) for number in range(700)]

    machine.delete([*refs[:11], *unknown])

    machine.fetch(refs[11], tmp_path / "copy")
    for ref in refs[:11]:
        with pytest.raises(DataLossError):
            machine.fetch(ref, tmp_path / "gone")


def test_many_may_store_and_fetch_at_once(client, machine, tmp_path):
    def carry(number):
        ref, file, content = payload(tmp_path, 70_000 + number, f"fc-1/r{number}")
        client.store(ref, file)
        machine.fetch(ref, tmp_path / f"copy-{number}")
        return (tmp_path / f"copy-{number}").read_bytes() == content

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(carry, range(40)))


# ---------------------------------------------------------------------------------------- bundles

FILES = {
    "main.py": b"import shop.prices\n",
    "shop/__init__.py": b"",
    "shop/prices.py": b"PRICES = {}\n",
    "shop/bin/run.sh": b"#!/bin/sh\n",
    "daten/gr\xc3\xbc\xc3\x9fe-\xff.txt".encode("latin-1").decode(errors="surrogateescape"): b"x",
    "deep/" * 40 + "file": b"y" * 70_000,
}


def test_a_bundle_is_the_same_folder_elsewhere_and_read_only(client, machine, tmp_path):
    digest = sources(tmp_path / "here", FILES)
    client.store_bundle(digest, tmp_path / "here")

    machine.fetch_bundle(digest, tmp_path / "there" / digest)

    assert files_in(tmp_path / "there" / digest) == FILES
    assert os.listdir(tmp_path / "there") == [digest]
    modes = {
        stat.S_IMODE(each.stat().st_mode): each.name
        for each in (tmp_path / "there" / digest).rglob("*")
    }
    assert modes.keys() == {0o755, 0o444, 0o555}
    assert modes[0o555] == "run.sh"


def test_many_small_files_and_large_ones_are_one_bundle(client, machine, tmp_path):
    noise = Random(1)
    files = {f"m{number}/data": noise.randbytes(number) for number in range(300)}
    files["large"] = noise.randbytes(2 * PART)
    digest = sources(tmp_path / "here", files)
    client.store_bundle(digest, tmp_path / "here")

    machine.fetch_bundle(digest, tmp_path / "there")

    assert files_in(tmp_path / "there") == files


def test_a_program_without_files_has_a_folder_all_the_same(client, machine, tmp_path):
    (tmp_path / "here").mkdir()
    client.store_bundle(empty().digest, tmp_path / "here")
    machine.fetch_bundle(empty().digest, tmp_path / "there")

    assert os.listdir(tmp_path / "there") == []


def test_one_asks_first_whether_a_bundle_is_there(client, machine, tmp_path):
    digest = sources(tmp_path / "here", FILES)
    assert not client.has_bundle(digest)
    with pytest.raises(NotFoundError):
        machine.fetch_bundle(digest, tmp_path / "there")

    client.store_bundle(digest, tmp_path / "here")
    client.store_bundle(digest, tmp_path / "here")

    assert client.has_bundle(digest)
    assert machine.has_bundle(digest)
    assert not client.has_bundle(digest[:-1] + ("0" if digest[-1] != "0" else "1"))
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("harm", ["changed", "missing", "another", "executable"])
def test_a_folder_that_is_not_the_bundle_is_not_stored(client, tmp_path, harm):
    digest = sources(tmp_path / "here", FILES)
    file = tmp_path / "here" / "main.py"
    match harm:
        case "changed":
            file.write_bytes(b"import shop.price\n ")
        case "missing":
            file.unlink()
        case "another":
            (tmp_path / "here" / "more.py").write_bytes(b"")
        case "executable":
            file.chmod(0o755)

    with pytest.raises(DataLossError, match="other files"):
        client.store_bundle(digest, tmp_path / "here")
    assert not client.has_bundle(digest)


def test_of_several_that_fetch_a_bundle_at_once_one_makes_the_folder(client, machine, tmp_path):
    digest = sources(tmp_path / "here", FILES)
    client.store_bundle(digest, tmp_path / "here")

    def fetch(_):
        machine.fetch_bundle(digest, tmp_path / "there" / digest)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(fetch, range(12)))

    assert os.listdir(tmp_path / "there") == [digest]
    assert files_in(tmp_path / "there" / digest) == FILES

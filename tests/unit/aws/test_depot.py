"""The depot on S3: what forgers can do, what requests it takes, and what S3 may do meanwhile."""

import io
import os
import tarfile
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest

from cloudfn import errors
from cloudfn.errors import AuthError, DataLossError, InvalidError, NotFoundError
from cloudfn.providers.aws import archives
from cloudfn.providers.aws.depot import S3Depot
from cloudfn.sdk.bundle import BundleFile, digest_of
from cloudfn.testing.aws import FakeAws, Knobs, S3Knobs
from cloudfn.wire.messages import BlobRef

KEY = bytes(range(32))
PART = 5 << 20
REF = BlobRef("fc-1/r1", 1_000, durable=True)
CONTENT = Random(1).randbytes(1_000)


def account(**nasty):
    knobs = Knobs(s3=replace(S3Knobs.calm(), **nasty))
    aws = FakeAws(knobs=knobs, seed=3)
    aws.make_bucket("bkt")
    return aws


def made(aws, *, machine=False, key=KEY, attempts=6):
    return S3Depot(
        aws.clients(attempts),
        "bkt",
        lambda: key,
        writes_results=machine,
        clock=aws.clock,
        random=Random(1),
        part=PART,
    )


@pytest.fixture
def stored(tmp_path):
    """Give an account in which a client has stored a payload."""
    aws = account()
    file = tmp_path / "payload"
    file.write_bytes(CONTENT)
    made(aws).store(REF, file)
    return aws


def put(aws, key, body):
    aws.client("s3").put_object(Bucket="bkt", Key=key, Body=body)


# ------------------------------------------------------------------------------------- authenticity


def lies_at(aws, key="inputs/fc-1/r1"):
    return aws.s3.truth("bkt")[key]


def change_a_bit(aws, _):
    body = bytearray(lies_at(aws))
    body[17] ^= 1
    put(aws, "inputs/fc-1/r1", bytes(body))


def change_the_seal(aws, _):
    put(aws, "inputs/fc-1/r1", lies_at(aws)[:-1] + b"\0")


def take_the_seal_away(aws, _):
    put(aws, "inputs/fc-1/r1", lies_at(aws)[:-32])


def put_another_payload_there(aws, folder):
    other = folder / "other"
    other.write_bytes(CONTENT[::-1])
    made(aws).store(REF._replace(name="fc-1/r2"), other)
    put(aws, "inputs/fc-1/r1", lies_at(aws, "inputs/fc-1/r2"))


def pass_a_result_for_an_input(aws, folder):
    made(aws, machine=True).store(REF, folder / "payload")
    put(aws, "inputs/fc-1/r1", lies_at(aws, "results/fc-1/r1"))


def seal_it_with_another_key(aws, folder):
    aws.client("s3").delete_object(Bucket="bkt", Key="inputs/fc-1/r1")
    made(aws, key=bytes(32)).store(REF, folder / "payload")


@pytest.mark.parametrize(
    "forge",
    [
        change_a_bit,
        change_the_seal,
        take_the_seal_away,
        put_another_payload_there,
        pass_a_result_for_an_input,
        seal_it_with_another_key,
    ],
)
def test_whoever_can_write_to_the_bucket_still_forges_nothing(stored, tmp_path, forge):
    forge(stored, tmp_path)

    with pytest.raises(DataLossError):
        made(stored, machine=True).fetch(REF, tmp_path / "there" / "copy")
    assert list(tmp_path.glob("there/*")) == []


def test_a_payload_s_content_is_its_owner_s_alone_on_this_machine(stored, tmp_path):
    made(stored, machine=True).fetch(REF, tmp_path / "copy")

    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "../x/y", "a/..", "/a/b", "a/\0", "a/b\n"])
def test_a_name_that_no_blob_has_goes_nowhere(tmp_path, name):
    aws = account()
    depot = made(aws)
    ref = BlobRef(name, 1, durable=True)
    for call in (
        lambda: depot.store(ref, tmp_path),
        lambda: depot.fetch(ref, tmp_path / "x"),
        lambda: depot.delete([ref]),
        lambda: depot.fetch_bundle(name, tmp_path / "x"),
    ):
        with pytest.raises(InvalidError):
            call()
    assert aws.faults.calls.keys() == {("s3", "CreateBucket")}


# ---------------------------------------------------------------------------------------- archives


def archived(*members, name="bundle"):
    """Return (digest, archive) of members: (path, content) or a TarInfo of another kind."""
    out = io.BytesIO()
    hashes, files = {}, []
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                archive.addfile(each)
                continue
            path, content = each
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            hashes[path] = len(content), sha256(content).digest()
            files.append(BundleFile(path, name, executable=False))
    files.sort(key=lambda each: each.path)
    return digest_of(files, hashes), out.getvalue()


def special(kind, name="x", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


#: each has the digest of its own content, so that the path alone is to blame
HOSTILE = {
    "above": archived(("../x", b"1")),
    "further above": archived(("a/../../x", b"1")),
    "absolute": archived(("/tmp/cloudfn-x", b"1")),
    "here": archived(("./x", b"1")),
    "twice a slash": archived(("a//x", b"1")),
    "backslash": archived(("a\\x", b"1")),
    "symbolic link": archived(special(tarfile.SYMTYPE)),
    "link through which one writes": archived(special(tarfile.SYMTYPE, "d", "/tmp"), ("d/x", b"1")),
    "hard link": archived(special(tarfile.LNKTYPE)),
    "device": archived(special(tarfile.CHRTYPE)),
    "pipe": archived(special(tarfile.FIFOTYPE)),
    "folder": archived(special(tarfile.DIRTYPE)),
    "sparse": archived(special(tarfile.GNUTYPE_SPARSE)),
    "one name twice": archived(("x", b"1"), ("x", b"2")),
    "a file for a folder": archived(("x", b"1"), ("x/y", b"2")),
    "a folder for a file": archived(("x/y", b"1"), ("x", b"2")),
    "cut short": (archived(("x", b"1" * 9_000))[0], archived(("x", b"1" * 9_000))[1][:60]),
    "no archive": ("0" * 64, b"nonsense" * 100),
    "nothing in it": ("0" * 64, b"x"),
    "other files": ("0" * 64, archived(("x", b"1"))[1]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_leaves_no_trace(tmp_path, what):
    digest, archive = HOSTILE[what]
    aws = account()
    put(aws, f"bundles/{digest}.tar.gz", archive)

    with pytest.raises(DataLossError, match=f"not the bundle {digest[:12]}"):
        made(aws, machine=True).fetch_bundle(digest, tmp_path / "a" / "b" / "bundle")

    assert {each.name for each in tmp_path.rglob("*")} == {"a", "b"}


def test_the_same_kind_of_archive_is_read_if_it_is_not_hostile(tmp_path):
    digest, archive = archived(("b/x", b"1"), ("a", b"2"))
    aws = account()
    put(aws, f"bundles/{digest}.tar.gz", archive)

    made(aws, machine=True).fetch_bundle(digest, tmp_path / "bundle")

    assert (tmp_path / "bundle" / "b" / "x").read_bytes() == b"1"


def test_an_archive_has_only_so_many_files_and_bytes(tmp_path):
    digest, archive = archived(*((f"x{number}", b"123") for number in range(5)))

    for limits in ({"most_files": 4}, {"most_bytes": 14}):
        with pytest.raises(DataLossError, match="it has more than"):
            archives.unpack(digest, io.BytesIO(archive), tmp_path / "bundle", **limits)
        assert os.listdir(tmp_path) == []
    limits = {"most_files": 5, "most_bytes": 15}
    archives.unpack(digest, io.BytesIO(archive), tmp_path / "bundle", **limits)
    assert len(os.listdir(tmp_path / "bundle")) == 5


def test_a_size_that_only_the_archive_s_head_names_is_not_believed(tmp_path):
    out = io.BytesIO()
    info = tarfile.TarInfo("x")
    info.size = archives.MAX_BYTES + 1
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.fileobj.write(info.tobuf())

    with pytest.raises(DataLossError, match="it has more than"):
        archives.unpack("0" * 64, io.BytesIO(out.getvalue()), tmp_path / "bundle")


def test_the_same_sources_make_the_same_archive(tmp_path):
    packed = []
    for folder in ("one", "two"):
        for path in ("b/x", "a"):
            file = tmp_path / folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(path.encode())
        digest, _ = archived(("b/x", b"b/x"), ("a", b"a"))
        out = io.BytesIO()
        archives.pack(digest, tmp_path / folder, out)
        packed.append(out.getvalue())
        os.utime(tmp_path / folder / "a", (1, 1))

    assert packed[0] == packed[1]


def test_links_in_a_folder_do_not_travel(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a").write_bytes(b"2")
    (tmp_path / "secret").write_bytes(b"sesame")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "secret")
    digest, _ = archived(("a", b"2"))

    out = io.BytesIO()
    archives.pack(digest, tmp_path / "here", out)
    archives.unpack(digest, io.BytesIO(out.getvalue()), tmp_path / "there")

    assert os.listdir(tmp_path / "there") == ["a"]


# ---------------------------------------------------------------------------------------- requests


def requests_of(aws, act):
    """Return the requests to S3 that something takes, by their operations."""
    before = dict(aws.faults.calls)
    act()
    return {
        operation: n - before.get((service, operation), 0)
        for (service, operation), n in aws.faults.calls.items()
        if n > before.get((service, operation), 0)
    }


def test_a_payload_is_one_request_there_and_one_back(stored, tmp_path):
    client, machine = made(stored), made(stored, machine=True)
    other = REF._replace(name="fc-1/r2")

    assert requests_of(stored, lambda: client.store(other, tmp_path / "payload")) == {
        "PutObject": 1
    }
    assert requests_of(stored, lambda: machine.fetch(other, tmp_path / "copy")) == {"GetObject": 1}
    machine.store(REF._replace(name="fc-1/r3"), tmp_path / "payload")
    assert requests_of(
        stored, lambda: client.fetch(REF._replace(name="fc-1/r3"), tmp_path / "copy")
    ) == {"GetObject": 1}


def test_a_bundle_is_a_request_however_many_files_it_has(tmp_path):
    aws = account()
    members = [(f"m{number}", b"x") for number in range(200)]
    for path, content in members:
        (tmp_path / "here").mkdir(exist_ok=True)
        (tmp_path / "here" / path).write_bytes(content)
    digest, _ = archived(*members)
    client, machine = made(aws), made(aws, machine=True)

    assert requests_of(aws, lambda: client.store_bundle(digest, tmp_path / "here")) == {
        "ListObjectsV2": 1,
        "PutObject": 1,
    }
    assert requests_of(aws, lambda: machine.fetch_bundle(digest, tmp_path / "there")) == {
        "GetObject": 1
    }
    assert requests_of(aws, lambda: client.store_bundle(digest, tmp_path / "here")) == {
        "ListObjectsV2": 1
    }


# ----------------------------------------------------------------------------------------- trouble


def large(folder, size=2 * PART + 5):
    file = folder / "large"
    file.write_bytes(Random(2).randbytes(size))
    return BlobRef("fc-1/large", size, durable=True), file


def test_conflicts_are_met_again_until_it_is_stored(tmp_path):
    aws = account(conflicts=0.6)
    ref, file = large(tmp_path)
    (tmp_path / "payload").write_bytes(CONTENT)
    client, machine = made(aws), made(aws, machine=True)
    client.store(ref, file)
    client.store(REF, tmp_path / "payload")

    machine.fetch(ref, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert aws.s3.leftovers("bkt") == 0


def test_a_bundle_body_or_payload_that_breaks_off_is_read_again(tmp_path):
    aws = account(broken_bodies=0.5)
    ref, file = large(tmp_path)
    made(aws).store(ref, file)

    for number in range(5):
        made(aws, machine=True).fetch(ref, tmp_path / f"copy-{number}")
        assert (tmp_path / f"copy-{number}").read_bytes() == file.read_bytes()


def test_a_body_that_always_breaks_off_is_an_error_and_leaves_nothing(tmp_path):
    aws = account(broken_bodies=1)
    (tmp_path / "payload").write_bytes(CONTENT)
    made(aws).store(REF, tmp_path / "payload")

    with pytest.raises(errors.ConnectionError, match="GetObject of s3://bkt/inputs/fc-1/r1"):
        made(aws, machine=True).fetch(REF, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["payload"]


def test_an_upload_that_fails_leaves_no_parts_behind(tmp_path):
    aws = account()
    ref, file = large(tmp_path)
    aws.faults.fail("s3", "UploadPart", "AccessDenied", times=1)

    with pytest.raises(errors.PermissionDeniedError, match="s3:PutObject"):
        made(aws).store(ref, file)
    assert aws.s3.leftovers("bkt") == 0
    assert aws.s3.truth("bkt") == {}


@pytest.mark.parametrize(
    "operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
)
def test_a_lost_answer_stores_it_all_the_same(tmp_path, operation):
    aws = account()
    ref, file = large(tmp_path)
    (tmp_path / "payload").write_bytes(CONTENT)
    aws.faults.lose_answer("s3", operation)
    client, machine = made(aws), made(aws, machine=True)
    client.store(ref, file)
    client.store(REF, tmp_path / "payload")

    machine.fetch(ref, tmp_path / "copy")
    machine.fetch(REF, tmp_path / "small copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert (tmp_path / "small copy").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
)
def test_a_store_that_gets_no_answer_says_so(tmp_path, operation):
    aws = account()
    ref, file = large(tmp_path)
    (tmp_path / "payload").write_bytes(CONTENT)
    small = operation == "PutObject"
    aws.faults.lose_answer("s3", operation)
    client = made(aws, attempts=1)

    with pytest.raises(errors.ConnectionError, match="s3:"):
        client.store(*((REF, tmp_path / "payload") if small else (ref, file)))


def test_a_minute_of_throttling_loses_no_payload(tmp_path):
    aws = account()
    (tmp_path / "payload").write_bytes(CONTENT)
    until = aws.clock.wall() + 60
    aws.faults.fail("s3", "*", "SlowDown", times=None, until=until)
    client = made(aws)
    while aws.clock.wall() < until:
        try:
            client.store(REF, tmp_path / "payload")
        except errors.ResourceExhaustedError:
            continue
    made(aws, machine=True).fetch(REF, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_credentials_that_expire_are_said_to_have_and_nothing_is_half_there(stored, tmp_path):
    stored.faults.fail("s3", "*", "ExpiredToken", times=5)
    client, machine = made(stored), made(stored, machine=True)

    for call in (
        lambda: machine.fetch(REF, tmp_path / "copy"),
        lambda: client.store(REF, tmp_path / "payload"),
        lambda: client.delete([REF]),
        lambda: client.has_bundle("0" * 64),
        lambda: machine.fetch_bundle("0" * 64, tmp_path / "bundle"),
    ):
        with pytest.raises(AuthError, match="have expired"):
            call()
    assert os.listdir(tmp_path) == ["payload"]
    machine.fetch(REF, tmp_path / "copy")


def test_a_bucket_that_one_may_not_list_calls_it_forbidden_and_we_say_both(tmp_path):
    aws = account()
    aws.faults.fail("s3", "GetObject", "AccessDenied", times=3)

    with pytest.raises(DataLossError, match="s3:GetObject"):
        made(aws).fetch(REF, tmp_path / "copy")
    with pytest.raises(NotFoundError, match="or these credentials may not read it"):
        made(aws).fetch_bundle("0" * 64, tmp_path / "bundle")


def test_a_payload_that_goes_away_while_it_is_read_is_lost(tmp_path):
    aws = account()
    ref, file = large(tmp_path)
    client, machine = made(aws), made(aws, machine=True)
    client.store(ref, file)
    _, pieces = machine._bucket.read("inputs/fc-1/large")
    next(pieces)
    client.delete([ref])

    with pytest.raises(DataLossError, match="was changed while it was read"):
        list(pieces)

"""What one Docker container sees of payloads in files."""

import os
from pathlib import Path

import pytest

from cloudfn.errors import DataLossError
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.local.views import View
from cloudfn.wire.messages import BlobRef

OURS = (os.getuid(), os.getgid())


@pytest.fixture
def blobs(tmp_path) -> LocalBlobs:
    for name in ("fast", "durable"):
        (tmp_path / name).mkdir()
    return LocalBlobs(tmp_path / "fast", tmp_path / "durable")


@pytest.fixture
def view(blobs) -> View:
    return View(blobs, "ta-1", OURS)


def blob(blobs: LocalBlobs, name: str, text: str, *, durable: bool = False) -> bytes:
    path = blobs.root(durable=durable) / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return BlobRef(name, len(text), durable).encode()


def inbox(view: View, *, durable: bool = False) -> Path:
    return Path(view.folders("/x", durable=durable)[0][0])


def test_it_sees_a_blob_while_it_is_shown(blobs, view):
    payload = blob(blobs, "fc-1/a", "value")

    view.show(payload)
    assert (inbox(view) / "fc-1" / "a").read_text() == "value"

    view.hide(payload)
    assert not (inbox(view) / "fc-1").exists()
    assert (blobs.fast / "fc-1" / "a").read_text() == "value"


def test_showing_twice_or_what_is_not_there_is_no_error(blobs, view):
    payload = blob(blobs, "fc-1/a", "value")

    view.show(payload)
    view.show(payload)
    view.show(BlobRef("fc-1/gone", 3, durable=False).encode())

    assert os.listdir(inbox(view) / "fc-1") == ["a"]


def test_results_of_a_call_go_unless_more_were_shown_since(blobs, view):
    view.show(blob(blobs, "fc-1/a", "value"))
    shown = view.shown("fc-1")
    view.show(blob(blobs, "fc-1/b", "value", durable=True))

    view.hide_call("fc-1", shown)
    assert (inbox(view) / "fc-1" / "a").exists()

    view.hide_call("fc-1")
    assert not (inbox(view) / "fc-1").exists()
    assert not (inbox(view, durable=True) / "fc-1").exists()


def test_it_owns_what_lies_in_its_outbox_alone(view):
    assert view.owns(BlobRef("results-ta-1/a", 1, durable=False).encode())
    assert not view.owns(BlobRef("results-ta-12/a", 1, durable=False).encode())
    assert not view.owns(BlobRef("fc-1/a", 1, durable=False).encode())
    assert view.may_send(b"\x80plain")


def test_a_link_in_the_outbox_is_not_adopted(blobs, view, tmp_path):
    (tmp_path / "private").write_text("private")
    (blobs.fast / view.outbox / "link").symlink_to(tmp_path / "private")

    with pytest.raises(DataLossError):
        blobs.adopt(BlobRef(f"{view.outbox}/link", 7, durable=False), "fc-1", durable=False)


def test_nothing_is_left_of_it(blobs, view):
    view.show(blob(blobs, "fc-1/a", "value"))

    view.close()

    assert os.listdir(blobs.fast) == ["fc-1"]
    assert os.listdir(blobs.durable) == []


def test_a_sweep_spares_the_living(blobs, view):
    assert blobs.sweep(lambda name: name == "ta-1", older_than=0.0, now=1e12) == 0
    assert blobs.sweep(lambda name: False, older_than=0.0, now=1e12) == 4

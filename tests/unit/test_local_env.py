"""What the client has installed: names, versions, and what has to be brought along."""

import json
from importlib.metadata import distributions
from pathlib import Path

import pytest

from cloudfn.model.image import ImageSpec, Layer
from cloudfn.sdk import imaging
from cloudfn.sdk.images.local_env import LocalProject, installed


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def add(site: Path, name: str, version: str, url: dict | None = None, requires=()) -> None:
    """Leave the metadata of an installation."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    if url is not None:
        (folder / "direct_url.json").write_text(json.dumps(url))


def found(*folders):
    return installed(distributions(path=[str(folder) for folder in folders]))


def test_packages_of_an_index_are_named_with_their_versions(site):
    add(site, "Zope.Interface", "6.0")
    add(site, "numpy", "2.1.0+cpu")

    assert found(site).packages == ("numpy==2.1.0+cpu", "Zope.Interface==6.0")


def test_what_every_environment_has_is_left_out(site):
    for name in ("pip", "setuptools", "wheel", "cloudfn", "humanize"):
        add(site, name, "1")

    assert found(site).packages == ("humanize==1",)


def test_setuptools_stays_where_something_needs_it(site):
    add(site, "setuptools", "80")
    add(site, "plugins", "1", requires=["setuptools>=70", "other; extra == 'x'"])

    assert found(site).packages == ("plugins==1", "setuptools==80")


def test_packages_of_a_repository_are_named_with_their_commit(site):
    git = {"vcs": "git", "commit_id": "abc", "requested_revision": "main"}
    add(site, "one", "1", {"url": "https://x.example/one", "vcs_info": git})
    add(site, "two", "1", {"url": "https://x.example/t", "vcs_info": git, "subdirectory": "py"})
    add(site, "web", "1", {"url": "https://x.example/web-1.whl", "archive_info": {}})

    assert found(site).packages == (
        "one @ git+https://x.example/one@abc",
        "two @ git+https://x.example/t@abc#subdirectory=py",
        "web @ https://x.example/web-1.whl",
    )


def test_projects_of_this_machine_are_brought_editable_or_not(site, tmp_path):
    folder = tmp_path / "my project"
    folder.mkdir()
    url = f"file://{tmp_path}/my%20project"
    add(site, "edited", "1", {"url": url, "dir_info": {"editable": True}})
    add(site, "copied", "2", {"url": url, "dir_info": {}})

    assert found(site).projects == (
        LocalProject("copied", "2", folder),
        LocalProject("edited", "1", folder),
    )


def test_a_wheel_is_brought_while_it_is_there(site, tmp_path):
    wheel = tmp_path / "here-1.whl"
    wheel.write_bytes(b"")
    add(site, "here", "1", {"url": wheel.as_uri(), "archive_info": {}})
    add(site, "gone", "1", {"url": f"{wheel.as_uri()}.gone", "archive_info": {}})

    assert found(site).projects == (LocalProject("here", "1", wheel),)
    assert found(site).packages == ("gone==1",)


def test_a_project_that_is_developed_in_its_folder_is_brought(site, tmp_path):
    folder = tmp_path / "developed"
    (folder / "src").mkdir(parents=True)
    (folder / "setup.py").write_text("")
    add(folder / "src", "developed", "1")

    assert found(site, folder / "src").projects == (LocalProject("developed", "1", folder),)


def test_of_two_of_a_name_the_first_on_the_path_counts(site, tmp_path):
    other = tmp_path / "other" / "site-packages"
    other.mkdir(parents=True)
    add(site, "my-package", "2")
    add(other, "My_Package", "1")

    assert found(site, other).packages == ("my-package==2",)


def test_leftovers_without_a_name_are_passed_over(site):
    (site / "broken-1.dist-info").mkdir()
    add(site, "whole", "1")

    assert found(site).packages == ("whole==1",)


def test_the_sources_of_a_project_are_in_the_image_without_its_clutter(site, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for name in ("pyproject.toml", "src/p.py", ".git/HEAD", "venv/pyvenv.cfg", "venv/x", "dist/y",
                 "src/__pycache__/p.pyc", "p.egg-info/PKG-INFO"):  # fmt: skip
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (project / "link").symlink_to("/etc/passwd")
    add(site, "p", "1", {"url": project.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.syspath_prepend(str(site))
    spec = ImageSpec((Layer("from_local_env"),))

    (layer,) = imaging.resolve(spec, tmp_path / "bundles").layers

    ours = {each["name"]: each for each in layer.arguments["projects"]}
    folder = tmp_path / "bundles" / ours["p"]["context"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"pyproject.toml", "src/p.py"}
    assert "p==1" not in layer.arguments["packages"]
    assert layer.arguments["packages"]
    assert layer.arguments["python_version"].startswith("3.")

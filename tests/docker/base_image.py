"""The image that Docker tests build on, made of Debian's packages: it needs no public registry.

Made once per machine, in less than a minute, and kept as a tar archive under a name that says what
went into it. `python3`, `pip` and `apt-get` work in it as they do in `python:3.11-slim`.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from pathlib import Path

#: version of the only Python in it, as Debian 12 has it
PYTHON = "3.11"
SUITE = "bookworm"
#: where this machine's packages come from; used where that is the same Debian
_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_UNREAD = ("man", "locale", "doc", "info")
#: seconds; on a quiet machine it takes 30 to 50
_PATIENCE = 400
#: given the root of the image; pip shall install beside Debian's packages without being told to
_FINISH = f"""
set -e
rm "$1"/usr/lib/python{PYTHON}/EXTERNALLY-MANAGED
ln -s ../../bin/python3 "$1"/usr/local/bin/python
mkdir -p "$1"/etc/ssl/certs
if [ -e {_BUNDLE} ]; then cp {_BUNDLE} "$1"{_BUNDLE}; fi
"""
#: `docker import --change`; the certificates of this machine, where it stands behind a proxy
CHANGES = (
    f"ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT={_BUNDLE}"
    f" SSL_CERT_FILE={_BUNDLE}",
    'CMD ["python3"]',
)


def archive() -> Path:
    """Return the tar archive of the image's files; make it if this machine has none yet.

    Raises:
        RuntimeError: It cannot be made; the message says why.
    """
    command = _command()
    key = hashlib.sha256(repr(command).encode() + _certificates()).hexdigest()[:16]
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"base-{key}.tar"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            aside = path.with_suffix(".part")
            aside.unlink(missing_ok=True)
            for old in folder.glob("base-*.tar"):
                old.unlink()
            made = subprocess.run(
                [*command, SUITE, str(aside), *sources()],
                capture_output=True, text=True, timeout=_PATIENCE, check=False,
            )  # fmt: skip
            if made.returncode:
                raise RuntimeError(f"mmdebstrap failed:\n{made.stderr[-4000:]}")
            aside.rename(path)
    return path


def _command() -> list[str]:
    return [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar",
        # Without this hook and package it merges /bin into /usr/bin with perl, which is 50 MB.
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--include=usr-is-merged,python3,python3-pip",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in _UNREAD),
        f"--customize-hook={_FINISH}",
    ]  # fmt: skip


def sources() -> list[str]:
    """Return this machine's file of sources; without one, mmdebstrap knows where Debian is."""
    files = [Path(each) for each in _SOURCES if Path(each).exists()]
    return [str(each) for each in files if f" {SUITE}" in each.read_text()][:1]


def _certificates() -> bytes:
    bundle = Path(_BUNDLE)
    return bundle.read_bytes() if bundle.exists() else b""


def _cache() -> Path:
    return Path.home() / ".cache" / "cloudfn-tests"

"""What a client's environment says of how to reach packages, as far as it holds inside of a build.

Pure, but for a look at which file certificates are in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudfn.providers.recipes.lines import CERTIFICATES, SECRETS

#: what Docker's builder hands to all steps, without a trace in the image
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"})
#: where packages are and how patiently they are asked for; not how this machine installs them
_INDEXES = re.compile(r"(PIP|UV)_\w*(INDEX|FIND_LINKS|HOST|TIMEOUT|RETRIES|MIRROR|PRERELEASE)\w*")
#: variables with the file of certificates, the first that is set wins
_BUNDLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: `user:password` in an address
_WHO = re.compile(r"//([^/@\s]+)@")
_PASSWORDS = ("_USERNAME", "_PASSWORD")
#: bytes; Docker's builder takes no larger secret
_LARGEST = 500 << 10


@dataclass(frozen=True, slots=True)
class Reach:
    """How steps of a build reach packages.

    Attributes:
        proxies: Variables that the builder knows itself.
        variables: Further ones, for the steps that install packages.
        certificates: A file of certificates to trust; None for those of the base.
    """

    proxies: Mapping[str, str]
    variables: Mapping[str, str]
    certificates: Path | None

    def __bool__(self) -> bool:
        """Whether steps that install packages have to be told anything."""
        return bool(self.variables)

    @property
    def hidden(self) -> set[str]:
        """Who one is to proxies and indexes: what no output may show."""
        told = {**self.proxies, **self.variables}
        who = {found[1] for value in told.values() for found in _WHO.finditer(value)}
        return who | {value for name, value in told.items() if name.endswith(_PASSWORDS)}


def reach(environ: Mapping[str, str]) -> Reach:
    """Return what of a client's environment makes sense to the steps of a build."""
    variables = {
        name: value
        for name, value in environ.items()
        if _INDEXES.fullmatch(name) and not _is_here(value)
    }
    bundle = next((environ[name] for name in _BUNDLES if environ.get(name)), None)
    certificates = None
    if bundle is not None and os.path.isfile(bundle) and os.path.getsize(bundle) <= _LARGEST:
        certificates = Path(bundle)
        variables |= dict.fromkeys(_BUNDLES, f"{SECRETS}/{CERTIFICATES}")
    proxies = {name: value for name, value in environ.items() if name.upper() in _PROXIES}
    return Reach(proxies, variables, certificates)


def _is_here(value: str) -> bool:
    """Whether a value names files of the client's machine, which a build does not see."""
    return any(word.startswith(("/", "~", ".", "file:")) for word in value.split())

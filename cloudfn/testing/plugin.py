"""What pytest gets from cloudfn: the fixture `cloudfn_offline`. Imports the rest when it is used.

Every pytest run of an environment that has cloudfn loads this module.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloudfn.testing.world import OfflineWorld


@pytest.fixture
def cloudfn_offline() -> Iterator[OfflineWorld]:
    """Run apps in this process, without a daemon; see docs/testing.md of cloudfn."""
    from cloudfn.testing.world import offline

    with offline() as world:
        yield world

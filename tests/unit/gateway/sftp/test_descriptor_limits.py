"""Open files: what the process may have, and how sessions share it."""

from __future__ import annotations

import resource

import pytest

from sftpgate.errors import TooMany
from sftpgate.gateway.sftp.descriptor_limits import FEW, Descriptors, raise_limit


def test_the_limit_is_raised() -> None:
    """The limit of open files becomes the highest that the process may set."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.promise("P7")
def test_sessions_with_few_handles_go_first() -> None:
    """From half of the budget on only a session with few handles gets another, and at the end nobody."""
    shared = Descriptors(limit=1024, connections=268)  # a budget of 512
    for used, mine, refused in ((255, 999, False), (256, FEW, True), (256, FEW - 1, False), (511, 0, False), (512, 0, True)):
        shared.used = used
        if refused:
            with pytest.raises(TooMany, match="open files"):
                shared.require(mine)
        else:
            shared.require(mine)


@pytest.mark.promise("P7")
def test_a_low_limit_leaves_half() -> None:
    """Where connections alone could use all descriptors, handles still get half of them."""
    shared = Descriptors(limit=100, connections=2000, used=49)
    shared.require(0)
    shared.used = 50
    with pytest.raises(TooMany):
        shared.require(0)

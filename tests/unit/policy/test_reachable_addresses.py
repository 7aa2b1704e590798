"""Addresses that a webhook may be at, and those that it may not."""

from __future__ import annotations

import pytest

from sftpgate.policy.reachable_addresses import is_listed, is_reachable, networks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255",
        "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::",
        "2001:db8::1", "2001:0:a00:1::", "not an address", "",
    ],
)  # fmt: skip
def test_special_addresses(address: str) -> None:
    """Private, link-local, loopback, multicast and reserved addresses are not reachable, nor what leads to one of them."""
    assert not is_reachable(address, ())


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses(address: str) -> None:
    """Public addresses are reachable, also behind a translation."""
    assert is_reachable(address, ())
    assert not is_listed(address, ())


def test_listed_networks() -> None:
    """What is listed is reachable, in each way to write it, and nothing beside it."""
    listed = networks(["10.1.0.0/16", "fd00:1::/32"])
    assert is_reachable("10.1.2.3", listed) and is_listed("10.1.2.3", listed)
    assert is_reachable("::ffff:10.1.2.3", listed) and is_reachable("fd00:1::5", listed)
    assert not is_reachable("10.2.2.3", listed) and not is_reachable("fd00:2::5", listed)

"""The algorithms that each profile offers."""

from __future__ import annotations

import pytest
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_default_kex_algs, get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_public_key_algs

from sftpgate.gateway.ssh.algorithms import added_by_legacy, offer
from sftpgate.settings.choices import Algorithms


@pytest.mark.parametrize("profile", list(Algorithms))
def test_algorithms_exist(profile: Algorithms) -> None:
    """Every algorithm that a profile names is one that the library has."""
    found = offer(profile)
    assert {name.encode() for name in found.encryption_algs} <= set(get_encryption_algs())
    assert {name.encode() for name in found.mac_algs} <= set(get_mac_algs())
    assert {name.encode() for name in found.kex_algs} <= set(get_kex_algs()) | set(get_default_kex_algs())
    assert {name.encode() for name in found.signature_algs} <= set(get_public_key_algs())


@pytest.mark.promise("P6")
def test_profiles_differ_as_they_say() -> None:
    """The default has no CBC and no SHA-1 but in MACs, hardened no SHA-1 and no NIST curve, and legacy only adds."""
    default, hardened, legacy = offer(Algorithms.DEFAULT), offer(Algorithms.HARDENED), offer(Algorithms.LEGACY)
    assert not [name for name in default.kex_algs + default.signature_algs if "sha1" in name or name == "ssh-rsa"]
    assert not [name for name in default.encryption_algs if "cbc" in name]
    everything = hardened.kex_algs + hardened.encryption_algs + hardened.mac_algs + hardened.signature_algs
    assert not [name for name in everything if "sha1" in name or "nistp" in name or "cbc" in name]
    assert legacy.kex_algs[: len(default.kex_algs)] == default.kex_algs
    assert {"ssh-rsa", "aes256-cbc", "diffie-hellman-group14-sha1"} <= set(added_by_legacy())

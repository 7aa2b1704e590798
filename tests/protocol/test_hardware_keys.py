"""Hardware keys (FIDO): touch, PIN, and the options that ask for them or do without."""

from __future__ import annotations

from typing import Any

import pytest

from sftpgate.policy.login import LoginRefusal
from tests.harness.credentials import TOUCHED, VERIFIED, SoftwareToken, authorize, login, refused
from tests.harness.gates import Gate, Start


@pytest.mark.parametrize("curve", [False, True], ids=["ed25519", "ecdsa"])
@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("", TOUCHED),
        ("", TOUCHED | VERIFIED),
        ("verify-required ", TOUCHED | VERIFIED),
        ("no-touch-required ", 0),
        ("no-touch-required,verify-required ", VERIFIED),
    ],
)
async def test_hardware_keys_log_in(gate: Gate, curve: bool, options: str, flags: int) -> None:
    """A hardware key logs in where its signature says what the line asks for."""
    token = SoftwareToken(flags=flags, curve=curve)
    authorize(gate, options + token.line)
    async with login(gate, client_keys=[token]):
        pass


@pytest.mark.parametrize(
    ("options", "flags", "reason"),
    [
        ("", 0, LoginRefusal.WRONG_SIGNATURE),
        ("", VERIFIED, LoginRefusal.WRONG_SIGNATURE),
        ("verify-required ", TOUCHED, LoginRefusal.NO_VERIFICATION),
        ("no-touch-required,verify-required ", 0, LoginRefusal.NO_VERIFICATION),
    ],
)
async def test_an_untouched_or_unverified_key(gate: Gate, options: str, flags: int, reason: LoginRefusal) -> None:
    """A hardware key that nobody touched, or used without its PIN where the line asks for it, is refused."""
    token = SoftwareToken(flags=flags)
    authorize(gate, options + token.line)
    assert await refused(gate, client_keys=[token]) == [reason]


async def test_a_kind_that_the_profile_leaves_out(start: Start) -> None:
    """With the hardened profile, a hardware key on a NIST curve is refused and an ed25519 one is not."""
    async with start(algorithms="hardened") as gate:
        tokens = [SoftwareToken(flags=TOUCHED, curve=curve) for curve in (True, False)]
        authorize(gate, *(token.line for token in tokens))
        hardened: dict[str, Any] = {"kex_algs": ["mlkem768x25519-sha256"], "encryption_algs": ["aes256-gcm@openssh.com"]}
        assert await refused(gate, client_keys=tokens[:1], **hardened) == [LoginRefusal.WEAK_SIGNATURE]
        async with login(gate, client_keys=tokens[1:], **hardened):
            pass

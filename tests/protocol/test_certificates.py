"""Certificates of users: who is let in by one that ``ssh-keygen`` made, and every way in which one does not fit."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from sftpgate.policy.login import LoginRefusal
from tests.harness.credentials import KeyFile, authorize, certify, login, make_key, refused
from tests.harness.gates import Gate, Start

YEAR = "-1h:+52w"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    """A key that signs certificates."""
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    """A key to certify."""
    return make_key(tmp_path / "night")


@pytest.mark.promise("P8")
async def test_a_certificate_of_the_users_authority(gate: Gate, authority: KeyFile, key: KeyFile) -> None:
    """A valid certificate for the user's name logs in, and the record names the key, the certificate and its authority."""
    authorize(gate, f"cert-authority {authority.line}")
    certificate = certify(authority, key, "-n", "erp,other-host", "-V", YEAR, "-O", "source-address=127.0.0.0/8")
    async with login(gate, client_keys=certificate) as connection, connection.start_sftp_client() as sftp:
        async with sftp.open("a.csv", "wb") as file:
            await file.write(b"a\n")
    [arrival] = gate.arrivals("a.csv")
    fingerprints = [asyncssh.read_public_key(f"{item.path}.pub").get_fingerprint() for item in (key, authority)]
    assert arrival.login == f"{fingerprints[0]} (certificate night shift, serial 7, of {fingerprints[1]})"


async def test_principals_of_the_line(gate: Gate, authority: KeyFile, key: KeyFile) -> None:
    """A line with principals= asks for one of those, and not for the user's name."""
    authorize(gate, f'cert-authority,principals="feeders,batch" {authority.line}')
    certificate = certify(authority, key, "-n", "batch", "-V", YEAR)
    async with login(gate, client_keys=certificate):
        pass
    assert await refused(gate, client_keys=certify(authority, key, "-n", "erp", "-V", YEAR)) == [LoginRefusal.NO_PRINCIPAL]


async def test_an_authority_on_two_lines(gate: Gate, authority: KeyFile, key: KeyFile) -> None:
    """Each line of an authority is tried, as OpenSSH does: one that has expired or names other principals hides no other one."""
    expired = f'cert-authority,expiry-time="20200101Z" {authority.line}'
    authorize(gate, expired, *(f'cert-authority,principals="{name}" {authority.line}' for name in ("feeders", "batch")))
    for principal in ("batch", "feeders"):
        async with login(gate, client_keys=certify(authority, key, "-n", principal, "-V", YEAR)):
            pass
    assert await refused(gate, client_keys=certify(authority, key, "-n", "erp", "-V", YEAR)) != []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], LoginRefusal.NO_PRINCIPAL),
        (["-n", "other"], LoginRefusal.NO_PRINCIPAL),
        (["-n", "ERP"], LoginRefusal.NO_PRINCIPAL),
        (["-h", "-n", "erp"], LoginRefusal.NO_USER_CERTIFICATE),
        (["-n", "erp", "-V", "-2w:-1w"], LoginRefusal.EXPIRED_CERTIFICATE),
        (["-n", "erp", "-V", "+1w:+2w"], LoginRefusal.EARLY_CERTIFICATE),
        (["-n", "erp", "-O", "source-address=192.0.2.0/24,198.51.100.7"], LoginRefusal.WRONG_CERTIFICATE_NETWORK),
        (["-n", "erp", "-O", "force-command=internal-sftp"], LoginRefusal.CRITICAL_OPTION),
        (["-n", "erp", "-O", "verify-required"], LoginRefusal.CRITICAL_OPTION),
        (["-n", "erp", "-O", "critical:no-such@example.com=x"], LoginRefusal.CRITICAL_OPTION),
    ],
)
async def test_certificates_that_do_not_fit(
    gate: Gate, authority: KeyFile, key: KeyFile, options: list[str], reason: LoginRefusal
) -> None:
    """A certificate without a fitting principal, out of its time or place, or with a limit that is not kept, is refused."""
    authorize(gate, f"cert-authority {authority.line}")
    assert await refused(gate, client_keys=certify(authority, key, *options)) == [reason]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ('from="192.0.2.0/24",', LoginRefusal.WRONG_KEY_NETWORK),
        ('expiry-time="20200101Z",', LoginRefusal.EXPIRED_KEY),
        ('command="/bin/backup",', LoginRefusal.LIMITED_TO_COMMAND),
    ],
)
async def test_limits_of_the_authoritys_line(
    gate: Gate, authority: KeyFile, key: KeyFile, limit: str, reason: LoginRefusal
) -> None:
    """What limits the authority's line limits every certificate of it."""
    authorize(gate, f"{limit}cert-authority {authority.line}")
    assert await refused(gate, client_keys=certify(authority, key, "-n", "erp")) == [reason]


async def test_an_authority_that_the_user_does_not_have(gate: Gate, authority: KeyFile, key: KeyFile, tmp_path: Path) -> None:
    """A certificate of somebody else's authority is refused, also where that authority's key is a plain key of the user."""
    other = make_key(tmp_path / "other-ca")
    authorize(gate, f"cert-authority {authority.line}", other.line)
    assert await refused(gate, client_keys=certify(other, key, "-n", "erp")) == [LoginRefusal.UNKNOWN_AUTHORITY]


async def test_an_authoritys_key_is_no_login(gate: Gate, authority: KeyFile) -> None:
    """The authority's own key logs nobody in."""
    authorize(gate, f"cert-authority {authority.line}")
    assert await refused(gate, client_keys=[str(authority.path)]) == [LoginRefusal.UNKNOWN_KEY]


async def test_a_forged_certificate(gate: Gate, authority: KeyFile, key: KeyFile, tmp_path: Path) -> None:
    """A certificate that names the authority and was not signed by it is refused."""
    forger = make_key(tmp_path / "forger")
    authorize(gate, f"cert-authority {authority.line}")
    [pair] = certify(forger, key, "-n", "erp")
    good = asyncssh.read_public_key(f"{authority.path}.pub").public_data
    bad = asyncssh.read_public_key(f"{forger.path}.pub").public_data
    pair.public_data = pair.public_data.replace(bad, good)
    assert await refused(gate, client_keys=[pair]) == [LoginRefusal.WRONG_SIGNATURE]


async def test_a_certificate_signed_with_sha1(start: Start, tmp_path: Path, key: KeyFile) -> None:
    """An authority's SHA-1 signature is refused, as the algorithms profile has it, and accepted by "legacy"."""
    old = make_key(tmp_path / "old-ca", "rsa", "-b", "2048")
    certificate = certify(old, key, "-t", "ssh-rsa", "-n", "erp")
    async with start() as gate:
        authorize(gate, f"cert-authority {old.line}")
        assert await refused(gate, client_keys=certificate) == [LoginRefusal.WEAK_SIGNATURE]
        async with login(gate, client_keys=certify(old, key, "-t", "rsa-sha2-512", "-n", "erp")):
            pass


async def test_a_weak_certified_key(start: Start, authority: KeyFile, tmp_path: Path) -> None:
    """A certificate does not make a weak key strong."""
    weak = make_key(tmp_path / "weak", "rsa", "-b", "2048")
    async with start(min_rsa_bits=3072) as gate:
        authorize(gate, f"cert-authority {authority.line}")
        assert await refused(gate, client_keys=certify(authority, weak, "-n", "erp")) == [LoginRefusal.WEAK_KEY]

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sftpgate.errors import HostKeyError
from sftpgate.users.host_keys.files import ensure_host_keys, host_key_fingerprints, known_hosts_lines


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keys directory with host keys, which no test changes."""
    keys_dir = tmp_path_factory.mktemp("keys")
    ensure_host_keys(keys_dir)
    return keys_dir


def ssh_keygen(*arguments: str) -> str:
    """What ssh-keygen prints."""
    return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout


def provided(keys_dir: Path, *arguments: str) -> Path:
    """An ed25519 host key that an admin made with ssh-keygen."""
    path = keys_dir / "host" / "ssh_host_ed25519_key"
    path.parent.mkdir(exist_ok=True)
    ssh_keygen("-q", "-t", "ed25519", "-C", "the admin's", "-f", str(path), *(arguments or ("-N", "")))
    return path


def test_the_first_start_makes_three_keys(made: Path) -> None:
    """An ed25519, an ECDSA and an RSA key are made, private ones for their owner only, in a form that OpenSSH reads."""
    paths = ensure_host_keys(made)
    assert [path.name for path in paths] == ["ssh_host_ed25519_key", "ssh_host_ecdsa_key", "ssh_host_rsa_key"]
    for path, key in zip(paths, host_key_fingerprints(made), strict=True):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
        assert ssh_keygen("-l", "-f", str(path)).split()[:2] == [str(key.bits), key.fingerprint]
        assert ssh_keygen("-y", "-f", str(path)).split()[:2] == key.line.split() == Path(f"{path}.pub").read_text().split()
    assert [key.bits for key in host_key_fingerprints(made)] == [256, 256, 3072]


def test_later_starts_keep_the_keys(made: Path) -> None:
    """A second start changes nothing."""
    before = {path: path.read_bytes() for path in (made / "host").iterdir()}
    ensure_host_keys(made)
    assert {path: path.read_bytes() for path in (made / "host").iterdir()} == before


@pytest.mark.parametrize("arguments", [(), ("-N", "", "-m", "PKCS8")])
def test_keys_that_the_admin_made_are_used(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A key from ssh-keygen is taken as it is, label and all, and the missing kinds are made beside it."""
    path = provided(tmp_path, *arguments)
    before = path.read_bytes(), Path(f"{path}.pub").read_bytes()
    assert len(ensure_host_keys(tmp_path)) == 3
    assert (path.read_bytes(), Path(f"{path}.pub").read_bytes()) == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    """A private key that others can read is refused with the command that repairs it."""
    path = provided(tmp_path)
    path.chmod(mode)
    with pytest.raises(HostKeyError, match=rf"chmod 600 {path}"):
        ensure_host_keys(tmp_path)
    path.chmod(0o600)
    ensure_host_keys(tmp_path)


def test_a_lost_private_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    """Where only the public half is left, the start fails: a new key would make every client refuse the server."""
    path = provided(tmp_path)
    path.unlink()
    with pytest.raises(HostKeyError, match="missing"):
        ensure_host_keys(tmp_path)
    assert not path.exists()


def test_a_lost_public_key_is_made_again(tmp_path: Path) -> None:
    """Where only the private half is left, as after a crash between the two, the public one is written."""
    path = provided(tmp_path)
    Path(f"{path}.pub").unlink()
    ensure_host_keys(tmp_path)
    assert Path(f"{path}.pub").read_text().split() == ssh_keygen("-y", "-f", str(path)).split()[:2]


def test_halves_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """A public key of another pair is an error: people would compare the wrong fingerprint."""
    path = provided(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    Path(f"{path}.pub").write_text(Path(f"{provided(other)}.pub").read_text())
    with pytest.raises(HostKeyError, match="does not belong"):
        ensure_host_keys(tmp_path)


@pytest.mark.parametrize(("content", "words"), [(b"nonsense", "no private key"), (b"", "no private key")])
def test_a_file_that_is_no_key_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """A damaged host key is an error, and never overwritten."""
    path = provided(tmp_path)
    path.write_bytes(content)
    with pytest.raises(HostKeyError, match=words):
        ensure_host_keys(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("form", [(), ("-m", "PKCS8")])
def test_a_key_with_a_passphrase_is_refused(form: tuple[str, ...], tmp_path: Path) -> None:
    """A host key with a passphrase is refused with the command that takes it away."""
    provided(tmp_path, "-N", "passphrase", *form)
    with pytest.raises(HostKeyError, match="ssh-keygen -p"):
        ensure_host_keys(tmp_path)


def test_workers_that_start_together_agree(tmp_path: Path) -> None:
    """Several first starts at the same time make one set of keys."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure_host_keys(tmp_path), range(4)))
    assert len(list((tmp_path / "host").iterdir())) == 6
    ensure_host_keys(tmp_path)


def test_lines_for_known_hosts(made: Path, tmp_path: Path) -> None:
    """The lines are what ssh-keygen finds the server by, with another port and without."""
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(
        "".join(f"{line}\n" for port in (22, 2222) for line in known_hosts_lines(made, "Erp.example.org", port))
    )
    for name in ("erp.example.org", "[erp.example.org]:2222"):
        found = ssh_keygen("-F", name, "-f", str(known_hosts))
        assert [line.split()[1:] for line in found.splitlines() if not line.startswith("#")] == [
            key.line.split() for key in host_key_fingerprints(made)
        ]


def test_without_keys_there_is_nothing_to_show(tmp_path: Path) -> None:
    """Before the first start there are no fingerprints, and asking for them makes no keys."""
    assert host_key_fingerprints(tmp_path) == []
    assert list(tmp_path.iterdir()) == []

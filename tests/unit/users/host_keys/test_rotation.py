from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.errors import HostKeyError, Refused
from sftpgate.users import files
from sftpgate.users.host_keys import rotation
from sftpgate.users.host_keys.files import ensure_host_keys, host_key_fingerprints, known_hosts_lines, public_halves, sshfp_record
from sftpgate.users.host_keys.rotation import begin_rotation, cancel_rotation, finish_rotation, next_files, pending_rotation

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Stop(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keys directory in the middle of a rotation, which no test changes."""
    keys_dir = tmp_path_factory.mktemp("keys")
    ensure_host_keys(keys_dir)
    begin_rotation(keys_dir, NOW + DAY)
    return keys_dir


@pytest.fixture
def keys_dir(begun: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(begun, tmp_path / "keys"))


def fingerprints(directory: Path) -> list[str]:
    """The keys whose public halves lie in a directory."""
    return [key.fingerprint for key in public_halves(directory)]


def test_a_rotation_from_beginning_to_end(keys_dir: Path) -> None:
    """The new keys wait until their time, then they are in use and the old ones are kept; a second end does nothing."""
    old, new = fingerprints(keys_dir / "host"), fingerprints(keys_dir / "host/next")
    under_way = pending_rotation(keys_dir)
    assert under_way is not None
    assert (under_way.due_at, [key.fingerprint for key in under_way.keys]) == (NOW + DAY, new)
    assert len(set(old + new)) == 6
    assert not finish_rotation(keys_dir, NOW + DAY - timedelta(seconds=1))
    assert finish_rotation(keys_dir, NOW + DAY)
    assert [key.fingerprint for key in host_key_fingerprints(keys_dir)] == new
    assert fingerprints(ensure_host_keys(keys_dir)[0].parent) == new
    assert pending_rotation(keys_dir) is None
    assert next_files(keys_dir) == []
    assert not finish_rotation(keys_dir, NOW + DAY)
    for path in (keys_dir / "host/previous").iterdir():
        said = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True).stdout
        assert said.split()[1] in old
        assert path.stat().st_mode & 0o077 == 0


def test_one_rotation_at_a_time(keys_dir: Path) -> None:
    """A second beginning is refused and changes nothing; a cancelled one leaves the keys in use."""
    old, new = fingerprints(keys_dir / "host"), fingerprints(keys_dir / "host/next")
    with pytest.raises(Refused, match="under way"):
        begin_rotation(keys_dir, NOW)
    assert fingerprints(keys_dir / "host/next") == new
    cancel_rotation(keys_dir)
    assert pending_rotation(keys_dir) is None
    assert fingerprints(keys_dir / "host") == old
    with pytest.raises(Refused):
        cancel_rotation(keys_dir)
    assert not finish_rotation(keys_dir)


def test_a_kill_in_the_end_of_a_rotation(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the end stops, the next start has host keys that belong together, and the next end completes it."""
    old, new = fingerprints(begun / "host"), fingerprints(begun / "host/next")
    for steps in range(100):
        keys_dir = Path(shutil.copytree(begun, tmp_path / str(steps)))
        left = [steps]

        def write(path: Path, text: str, *, mode: int = files.FILE_MODE, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Stop
            left[0] -= 1
            files.write_text(path, text, mode=mode)

        monkeypatch.setattr(rotation, "write_text", write)
        try:
            finish_rotation(keys_dir)
            break
        except Stop:
            monkeypatch.setattr(rotation, "write_text", files.write_text)
        ensure_host_keys(keys_dir)
        assert set(fingerprints(keys_dir / "host")) <= {*old, *new}
        assert finish_rotation(keys_dir)
        assert fingerprints(keys_dir / "host") == new
        kept = [ssh_fingerprint(path) for path in sorted((keys_dir / "host/previous").iterdir())]
        assert sorted(kept) == sorted(old)
    assert steps > 5


def ssh_fingerprint(path: Path) -> str:
    """What ``ssh-keygen -l`` shows."""
    return subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True).stdout.split()[1]


def test_lines_for_clients(keys_dir: Path, tmp_path: Path) -> None:
    """known_hosts lines have the next keys too, and SSHFP records are those of ssh-keygen."""
    assert len(known_hosts_lines(keys_dir, "erp.example.org", 22)) == 6
    for key in host_key_fingerprints(keys_dir):
        path = tmp_path / "key.pub"
        path.write_text(key.line + "\n")
        said = subprocess.run(
            ["ssh-keygen", "-r", "erp.example.org.", "-f", str(path)], check=True, capture_output=True, text=True
        )
        assert sshfp_record(key, "ERP.example.org") in said.stdout.splitlines()


def test_a_time_that_cannot_be_read(keys_dir: Path) -> None:
    """A damaged file is an error that names it, and no key is replaced."""
    (keys_dir / "host/next/due").write_text("soon")
    before = fingerprints(keys_dir / "host")
    for act in (lambda: pending_rotation(keys_dir), lambda: finish_rotation(keys_dir)):
        with pytest.raises(HostKeyError, match="due"):
            act()
    assert fingerprints(keys_dir / "host") == before

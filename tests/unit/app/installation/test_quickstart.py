"""The parts of the quickstart that need no server; the whole of it is in tests/acceptance."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from sftpgate.app.installation import quickstart
from sftpgate.settings.reading import load


def test_the_first_settings_file_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sftpgate.toml that the quickstart writes can be read, also with every commented setting switched on."""
    monkeypatch.chdir(tmp_path)
    for text in (quickstart.CONFIG, quickstart.CONFIG.replace("\n# host", "\nhost").replace("\n# port", "\nport")):
        Path("sftpgate.toml").write_text(text, encoding="utf-8")
        assert load().tools["enrols"].files == ("enrols.csv",)


def test_the_first_key_is_openssh_s_and_its_owner_s_alone(tmp_path: Path) -> None:
    """The key pair is one that OpenSSH reads, and nobody but its owner can."""
    key = tmp_path / "clients" / "erp_ed25519"
    quickstart._make_key(key)
    derived = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True).stdout
    assert derived.split()[:2] == key.with_suffix(".pub").read_text(encoding="ascii").split()[:2]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(("listens", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.7", "192.0.2.7")])
def test_an_address_that_means_all_is_reached_locally(listens: str, reached: str) -> None:
    """The printed line has an address to which one can connect."""
    assert quickstart._reachable(listens) == reached

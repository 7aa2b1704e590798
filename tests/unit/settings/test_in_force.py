"""Which settings are in force, and where each comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.settings.in_force import in_force
from sftpgate.settings.reading import load
from sftpgate.settings.tree import Settings

TEXT = """\
port = 2200
ledger_url = "postgresql://gate:wrench@db.example/gate"
[tools.users]
file = "users.csv"
command = ["wc"]
[tools.users.contract]
min_rows = 2
"""


def test_where_each_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names its file or variable; of tables only what was set is there; a password in a URL is masked."""
    (tmp_path / "sftpgate.toml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPGATE_WORKERS", "2")
    monkeypatch.setenv("SFTPGATE_PORT", "2201")
    monkeypatch.setenv("SFTPGATE_HOST", "")
    monkeypatch.setenv("SFTPGATE_TOOLS__USERS__TIMEOUT", "5m")
    found = {setting.name: setting for setting in in_force(load())}
    assert {name: (item.value, item.source) for name, item in found.items() if not item.is_default} == {
        "port": (2201, "SFTPGATE_PORT"),
        "workers": (2, "SFTPGATE_WORKERS"),
        "ledger_url": ("postgresql://gate:***@db.example/gate", "sftpgate.toml"),
        "tools.users.file": ("users.csv", "sftpgate.toml"),
        "tools.users.command": (("wc",), "sftpgate.toml"),
        "tools.users.timeout": (300.0, "SFTPGATE_TOOLS__USERS__TIMEOUT"),
        "tools.users.contract.min_rows": (2, "sftpgate.toml"),
    }
    tables = {name for name, field in Settings.model_fields.items() if name not in found}
    assert tables == {"tools", "expect", "notify"}
    assert found["host"].is_default

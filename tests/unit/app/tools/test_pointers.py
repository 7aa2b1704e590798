"""What a running server knows of where the tools are pointed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.app.tools.pointers import LivePointers
from sftpgate.policy.pointers import is_queued
from sftpgate.settings.reading import load

TOOL = "[tools.a]\nfile = '{file}'\narrivals = 'queue'\ncommand = ['true']\n"


def test_a_running_server_follows_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a tool is pointed elsewhere, names queue accordingly at once; a file that is broken meanwhile changes nothing."""
    path = tmp_path / "sftpgate.toml"
    monkeypatch.chdir(tmp_path)
    path.write_text(TOOL.format(file="one.csv"))
    pointers = LivePointers(load())
    assert is_queued("one.csv", pointers()) and not is_queued("two.csv", pointers())
    path.write_text(TOOL.format(file="two.csv") + "# longer\n")
    assert is_queued("two.csv", pointers()) and not is_queued("one.csv", pointers())
    path.write_text("[tools")
    assert is_queued("two.csv", pointers())
    path.unlink()
    assert is_queued("two.csv", pointers())
    path.write_text(TOOL.format(file="archives/three.csv"))
    assert is_queued("two.csv", pointers())
    path.write_text(TOOL.format(file="three.csv"))
    assert is_queued("three.csv", pointers())

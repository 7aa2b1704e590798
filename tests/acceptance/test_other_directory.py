"""A command that is started in another directory than the gate's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "words", [("status",), ("user", "add", "erp"), ("ban", "add", "192.0.2.1"), ("sweep",), ("serve",), ("verify",)]
)
def test_where_no_gate_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Where there is neither a settings file nor a gate, a command says so, ends with an error, and makes nothing."""
    refused = Cli(tmp_path)(*words, code=ExitCode.BAD_SETTINGS)
    assert "there is no gate" in refused.err and str(tmp_path) in refused.err
    assert not list(tmp_path.iterdir())


def test_the_settings_file_says_where(cli: Cli, tmp_path: Path) -> None:
    """With SFTPGATE_CONFIG a command works on the gate of that file from anywhere: defaults are relative to the file too."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    away = Cli(elsewhere, {"SFTPGATE_CONFIG": str(tmp_path / "sftpgate.toml")})
    away("user", "add", "erp")
    away("store", "put", "-", "users1.csv", text="a\n")
    assert (tmp_path / "data/store/users1.csv").read_bytes() == b"a\n" and (tmp_path / "keys/users/erp").is_dir()
    assert not list(elsewhere.iterdir())
    assert str(tmp_path / "data") in away("status").out
    away("run", "users")
    away("run", "users", code=ExitCode.NOTHING_TO_DO)  # by the memo, which must mean the same gate
    away("run", "users", code=ExitCode.NOTHING_TO_DO)

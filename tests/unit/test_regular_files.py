"""What an administrator keeps is read where it is a regular file, and nothing else is ever waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sftpgate.app import idle_run
from sftpgate.app.doctor.services import find_unit
from sftpgate.app.tools import settings_file
from sftpgate.app.tools.pointers import LivePointers
from sftpgate.errors import SettingsError, UserFileError
from sftpgate.regular_files import FileTooLarge, NotRegular, read_regular
from sftpgate.settings.reading import load
from sftpgate.users.accounts import parse_account

pytestmark = pytest.mark.timeout(20)  # what is waited for shows as this


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


ODD: dict[str, Callable[[Path], None]] = {
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    """The error says what it is; a file that is too large is another one."""
    ODD[kind](tmp_path / "odd")
    with pytest.raises(NotRegular) as caught:
        read_regular(tmp_path / "odd", 10)
    assert kind in str(caught.value.strerror)
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "file", 10) == b"0123456789"
    with pytest.raises(FileTooLarge, match="larger than 9 bytes"):
        read_regular(tmp_path / "file", 9)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", ODD)
def test_settings_that_are_no_file(here: Path, kind: str) -> None:
    """Whatever lies there as ``sftpgate.toml`` is not "no settings": the error names it and its kind, for each way to the
    settings; a running server goes on with those that it has.
    """
    path = here / "sftpgate.toml"
    path.write_text("[tools.a]\nfile = 'a.csv'\ncommand = ['true']\n")
    pointers = LivePointers(load())
    known = pointers()
    path.unlink()
    ODD[kind](path)
    for read in (load, lambda: settings_file.edit(lambda text: text + "#")):
        with pytest.raises(SettingsError, match=f"sftpgate.toml: cannot be read: it is no regular file, but {kind}"):
            read()
    assert pointers() == known
    assert not idle_run.is_answer(["--all"])


def test_settings_that_a_link_names(here: Path) -> None:
    """A link to a file is as good as the file; one that leads nowhere is an error, and not "no settings"."""
    (here / "sftpgate.toml").symlink_to(here / "real.toml")
    with pytest.raises(SettingsError, match=r"sftpgate\.toml: a link that leads nowhere"):
        load()
    (here / "real.toml").write_text("port = 2200\n")
    assert load().port == 2200


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "port = " + "1" * 5000, "a = 2020-02-31", "\0", "\ufeff"])
def test_texts_that_break_a_parser(here: Path, text: str) -> None:
    """Lists in lists, and numbers without end, are no valid TOML: in the settings and in a user's file."""
    (here / "sftpgate.toml").write_text(text)
    with pytest.raises(SettingsError, match="not valid TOML"):
        load()
    with pytest.raises(UserFileError, match="not valid TOML"):
        parse_account(text)
    assert not idle_run.is_answer(["--all"])


def test_settings_without_end(here: Path) -> None:
    """A file that is larger than settings can be is refused before it is read to its end."""
    with (here / "sftpgate.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SettingsError, match="larger than"):
        load()


def test_a_memo_that_is_no_file(here: Path) -> None:
    """Whoever can write into the store cannot make a pass wait by what lies at the memo's place."""
    (here / "sftpgate.toml").write_text("")
    (here / "data/store/.sftpgate").mkdir(parents=True)
    os.mkfifo(here / "data/store/.sftpgate/idle")
    assert not idle_run.is_answer(["--all"])


def test_units_that_are_no_files(tmp_path: Path) -> None:
    """A drop-in that nobody can read says nothing, and the doctor does not wait for it."""
    (tmp_path / "sftpgate.service").write_text("[Service]\nUser=gate\n")
    (tmp_path / "sftpgate.service.d").mkdir()
    os.mkfifo(tmp_path / "sftpgate.service.d/a.conf")
    (tmp_path / "sftpgate.service.d/b.conf").mkdir()
    unit = find_unit([tmp_path])
    assert unit is not None
    assert unit.last("User") == "gate"

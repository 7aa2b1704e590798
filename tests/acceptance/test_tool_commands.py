"""``sftpgate tool point | enable | disable | preset``: edits of sftpgate.toml, as admins make them all day."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from tests.harness.command_line import Cli

SETTINGS = """\
# our gate
log_level = "warning"   # not too much

[tools.users]   # people
file = "users.csv"      # what the ERP sends
command = ["cat",
           "{file}"]    # for now

# who is where
[tools.enrols]
file = "enrols.csv"
arrivals = "queue"
after = ["users"]
command = ["cat", "{file}"]
"""


@pytest.fixture
def settings(cli: Cli) -> Path:
    """The settings file of ``cli``, with comments that somebody likes."""
    path = cli.directory / "sftpgate.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    path.chmod(0o604)
    return path


def put(cli: Cli, name: str) -> None:
    """A file that waits in the store."""
    cli("store", "put", "-", name, text="a,b\n")


def test_point_says_what_changes(cli: Cli, settings: Path) -> None:
    """Pointing a tool changes one value of the file and nothing else, and says which waiting files are whose now."""
    put(cli, "users.csv")
    put(cli, "people.csv")
    said = cli("tool", "point", "users", "people.csv").out
    assert said.splitlines() == [
        "tools.users is pointed at people.csv (was: users.csv)",
        "people.csv waits for users now (before: for none)",
        "users.csv waits for no tool now (before: users)",
        "waiting for it: 1 (the next `run` takes what waits)",
    ]
    assert settings.read_text() == SETTINGS.replace('"users.csv"', '"people.csv"')
    assert settings.stat().st_mode & 0o777 == 0o604
    assert cli("run", "users").out.startswith("users: people.csv done")
    cli("tool", "point", "users", "users.csv", "people*.csv")
    assert '\nfile = ["users.csv", "people*.csv"]      # what' in settings.read_text()
    assert cli("run", "users").out.startswith("users: users.csv done")


def test_point_as_json(cli: Cli, settings: Path) -> None:
    """The same as one object, for scripts."""
    put(cli, "x.csv")
    record = cli("tool", "point", "users", "x.csv", "--json").record
    assert record["file"] == record["waits"] == ["x.csv"]
    assert record["reassigned"] == [{"path": "x.csv", "before": None, "after": "users"}]
    assert "already" in cli("tool", "point", "users", "x.csv").out


def test_point_with_a_path_on_disk(cli: Cli, settings: Path) -> None:
    """A path that Tab has completed, into the store on disk, means the file there."""
    put(cli, "x.csv")
    for path in (str(cli.store / "x.csv"), os.path.relpath(cli.store / "x.csv", cli.directory)):
        assert cli("tool", "point", "users", path, "--json").record["file"] == ["x.csv"]


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["users", "archives/users.csv"], 78, "processed already; name another directory"),
        (["users", "*/users.csv"], 78, "processed already"),
        (["users", "/etc/passwd"], 78, "absolute path; name the file relative to the store"),
        (["users", "../users.csv"], 78, "no path inside the store"),
        (["users", "enrols.csv"], 78, "what tools.users is pointed at; point one of them elsewhere"),
        (["users", "users.csv.tmp"], 78, "never taken"),
        (["nobody", "x.csv"], 5, "no tool 'nobody' in the settings (there: users, enrols; `sftpgate tool preset`"),
        (["users"], 2, "missing"),
    ],
)
def test_point_refuses_what_cannot_work(cli: Cli, settings: Path, arguments: list[str], code: int, why: str) -> None:
    """What cannot work is refused in one line before anything is written: the file stays byte for byte."""
    result = cli("tool", "point", *arguments, code=code)
    assert why in result.err
    assert settings.read_text() == SETTINGS
    assert [path.name for path in cli.directory.iterdir() if "toml" in path.name] == ["sftpgate.toml"]


def test_circle_in_after_is_one_line(cli: Cli, settings: Path) -> None:
    """Tools that come after each other in a circle are refused in one line that says which `after` closes it."""
    broken = SETTINGS.replace('"{file}"]    # for now', '"{file}"]\nafter = ["enrols"]')
    settings.write_text(broken)
    for command in (["run", "--all"], ["tool", "list"], ["tool", "point", "users", "x.csv"]):
        assert "come after each other in a circle; remove one `after`" in cli(*command, code=78).err
    assert settings.read_text() == broken


def test_settings_that_are_broken_already(cli: Cli, settings: Path) -> None:
    """A settings file that cannot be read is never edited."""
    settings.write_text(SETTINGS + "[broken\n")
    assert "not valid TOML" in cli("tool", "point", "users", "x.csv", code=78).err
    assert settings.read_text() == SETTINGS + "[broken\n"


def test_disable_and_enable(cli: Cli, settings: Path) -> None:
    """A disabled tool is left alone and its files wait; enabled again it takes them; the comments around stay where they are."""
    put(cli, "users.csv")
    assert cli("tool", "disable", "users").out.splitlines() == [
        "tools.users is disabled",
        "waiting for it: 1 (what waits goes on waiting)",
    ]
    expected = SETTINGS.replace("ERP sends\n", "ERP sends\nenabled = false\n")
    assert settings.read_text() == expected
    assert "already disabled" in cli("tool", "disable", "users").out
    assert cli("run", "--all", code=3).out == ""
    assert "`sftpgate tool enable users`" in cli("run", "users", code=78).err
    cli("tool", "enable", "users")
    assert settings.read_text() == expected.replace("enabled = false", "enabled = true")
    assert "already enabled" in cli("tool", "enable", "enrols").out
    assert settings.read_text() == expected.replace("enabled = false", "enabled = true")
    assert cli("run", "--all").out.startswith("users: users.csv done")


def test_a_link_to_the_settings_stays_one(cli: Cli, settings: Path) -> None:
    """Where sftpgate.toml is a link, the file that it points to is replaced, and the link stays."""
    real = cli.directory / "conf"
    real.mkdir()
    settings.rename(real / "gate.toml")
    settings.symlink_to(real / "gate.toml")
    cli("tool", "point", "users", "x.csv")
    assert settings.is_symlink() and 'file = "x.csv"' in (real / "gate.toml").read_text()


def test_presets(cli: Cli, settings: Path) -> None:
    """Ready tables are printed, or added to the settings, which work at once; a tool that is there already is not touched."""
    printed = cli("tool", "preset").out
    names = ["users", "courses", "flatfile", "cohorts", "enrols", "groups", "userpictures", "generic"]
    for name in names:
        assert f"[tools.{name}]\n" in printed
    settings.write_text(printed)
    assert sorted(str(row["tool"]) for row in cli("tool", "list", "--json").rows) == sorted(names)
    settings.write_text(SETTINGS)
    assert "there is a tool 'users' already" in cli("tool", "preset", "--append", code=1).err
    cli("tool", "preset", "groups", "userpictures", "--append")
    text = settings.read_text()
    assert text.startswith(SETTINGS + "\n# groups of courses") and 'after = ["enrols"]' in text
    cli("tool", "enable", "groups")
    put(cli, "groups.csv")
    assert "its working directory /var/www/moodle does not exist; make it" in cli("run", "groups", code=78).err
    assert "no preset 'nothing' (there: users" in cli("tool", "preset", "nothing", code=5).err


def test_presets_make_the_first_settings(cli: Cli) -> None:
    """In a directory without settings, presets make the file."""
    (cli.directory / "sftpgate.toml").unlink()
    cli("tool", "preset", "users", "--append")
    assert (cli.directory / "sftpgate.toml").read_text().startswith("# accounts to create")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("whose", ["root", "daemon"])
def test_settings_that_root_makes_can_be_read_by_the_service(whose: str) -> None:
    """A sftpgate.toml that root's command makes is readable by the user to whom the store belongs, and by nobody else."""
    service, owner = pwd.getpwnam("daemon"), pwd.getpwnam(whose)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        os.chown(directory, owner.pw_uid, 0)
        (directory / "data" / "store").mkdir(parents=True)
        for path in (directory / "data", directory / "data" / "store"):
            os.chown(path, service.pw_uid, service.pw_gid)
        Cli(directory, {"SFTPGATE_DATA_DIR": str(directory / "data")})("tool", "preset", "users", "--append")
        found = (directory / "sftpgate.toml").stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (owner.pw_uid, service.pw_gid, 0o640)

"""``sftpgate doctor``: what is wrong with a set-up, and what to do."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sftpgate.app.doctor.checks import check_owners
from sftpgate.app.doctor.findings import Level
from sftpgate.errors import ExitCode
from sftpgate.store.filesystems import mount_of
from tests.harness.credentials import keygen, make_key
from tests.harness.host_keys import give_host_keys

if TYPE_CHECKING:
    from tests.harness.command_line import Cli

PASSWORD = "correct horse battery"


@pytest.fixture
def healthy(cli: Cli) -> Cli:
    """A set-up with everything that a gate needs, on a free port."""
    cli.environment["SFTPGATE_PORT"] = "0"
    cli.environment["SFTPGATE_FREE_SPACE_FLOOR"] = "1"
    cli.environment["SFTPGATE_ALLOW_ROOT"] = "true"
    give_host_keys(cli.directory / "keys")
    cli("user", "add", "erp", "--password-stdin", text=PASSWORD + "\n")
    cli("store", "mkdir", "north")
    (cli.data / "ledger.db").chmod(0o640)
    return cli


def _findings(cli: Cli, code: int | None = None) -> list[dict[str, object]]:
    return [row for row in cli("doctor", "--json", code=code).rows if row["level"] != "ok"]


def test_a_healthy_set_up(healthy: Cli) -> None:
    """Where all is well, every check says so, the exit code is 0, and nothing is left of the probes."""
    before = sorted(healthy.data.rglob("*"))
    rows = healthy("doctor", "--json").rows
    assert [row for row in rows if row["level"] != "ok" and "restart" not in str(row["finding"])] == []
    assert {"settings", "directories", "ledger", "host keys", "users", "tools", "port"} <= {row["check"] for row in rows}
    assert sorted(healthy.data.rglob("*")) == before


def test_before_the_first_start(cli: Cli) -> None:
    """A fresh set-up has no error, only what is still to be done, and the doctor makes nothing."""
    cli.environment["SFTPGATE_PORT"] = "0"
    rows = cli("doctor", "--json").rows
    assert any("sftpgate user add" in str(row["what_to_do"]) for row in rows)
    assert not cli.data.exists()
    assert not (cli.directory / "keys").exists()


def _readable_host_key(cli: Cli) -> None:
    (cli.directory / "keys/host/ssh_host_ed25519_key").chmod(0o644)


def _lost_host_key(cli: Cli) -> None:
    (cli.directory / "keys/host/ssh_host_rsa_key").unlink()


def _broken_host_key(cli: Cli) -> None:
    (cli.directory / "keys/host/ssh_host_rsa_key").write_text("nonsense")


def _broken_user(cli: Cli) -> None:
    (cli.directory / "keys/users/erp/user.toml").write_text("hoem = 'x'\n")


def _home_outside(cli: Cli) -> None:
    (cli.directory / "keys/users/erp/user.toml").write_text('home = "../.."\n')


def _home_that_locks(cli: Cli) -> None:
    (cli.directory / "keys/users/erp/user.toml").write_text('home = "campus/ALOCK.TXT"\n')


def _writable_keys(cli: Cli) -> None:
    (cli.directory / "keys/users/erp/authorized_keys").chmod(0o666)


def _open_staging(cli: Cli) -> None:
    (cli.store / ".sftpgate").chmod(0o755)


def _missing_command(cli: Cli) -> None:
    config = cli.directory / "sftpgate.toml"
    config.write_text(config.read_text().replace('"cat"', '"no-such-program"', 1))


def _ignored_file(cli: Cli) -> None:
    config = cli.directory / "sftpgate.toml"
    config.write_text(config.read_text().replace('"enrols.csv"', '"_enrols.csv"', 1))


def _damaged_ledger(cli: Cli) -> None:
    (cli.data / "ledger.db").write_bytes(b"this is no database, though it is long enough to be looked at" * 100)


def _drop_in_the_store(cli: Cli) -> None:
    cli.environment["SFTPGATE_DROP_DIR"] = str(cli.store / "drop")


def _no_group(cli: Cli) -> None:
    cli.environment["SFTPGATE_FILE_GROUP"] = "no-such-group"


def _bad_setting(cli: Cli) -> None:
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "soon"


def _full_disk(cli: Cli) -> None:
    cli.environment["SFTPGATE_FREE_SPACE_FLOOR"] = "1EiB"


def _foreign_address(cli: Cli) -> None:
    cli.environment |= {"SFTPGATE_HOST": "192.0.2.1", "SFTPGATE_PORT": "2222"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_readable_host_key, "chmod 600"),
        (_lost_host_key, "public half"),
        (_broken_host_key, "ssh_host_rsa_key"),
        (_broken_user, "home"),
        (_home_outside, "homes lie in the drop"),
        (_home_that_locks, "a batch lock is a file"),
        (_writable_keys, "let themselves in"),
        (_open_staging, "chmod g-r,o-rw"),
        (_missing_command, "no-such-program"),
        (_ignored_file, "never taken"),
        (_damaged_ledger, "damaged"),
        (_drop_in_the_store, "drop lies in store"),
        (_no_group, "no-such-group"),
        (_bad_setting, "settle_seconds"),
        (_full_disk, "free_space_floor"),
        (_foreign_address, "192.0.2.1"),
    ],
)
def test_each_damage_is_found(healthy: Cli, damage: Callable[[Cli], None], words: str) -> None:
    """What keeps the gate from working is an error that says what to do, with exit code 78."""
    damage(healthy)
    found = [row for row in _findings(healthy, code=ExitCode.BAD_SETTINGS) if row["level"] == "error"]
    assert any(words in f"{row['finding']} {row['what_to_do']}" for row in found), found
    assert all(row["what_to_do"] for row in found), found


def test_who_the_server_is(healthy: Cli) -> None:
    """Root that stays root, a run_as that does not exist, and directories that are not its own are found, with what to do."""
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    healthy.environment["SFTPGATE_ALLOW_ROOT"] = "false"
    assert ["would stay root" in str(row["finding"]) for row in _findings(healthy) if row["check"] == "process"] == [True]
    healthy.environment["SFTPGATE_RUN_AS"] = "nobody"
    found = [row for row in _findings(healthy, ExitCode.BAD_SETTINGS) if row["check"] == "process"]
    assert any(
        "does not belong to nobody" in str(row["finding"]) and "chown -R nobody" in str(row["what_to_do"]) for row in found
    )
    healthy.environment["SFTPGATE_RUN_AS"] = "nosuchuser"
    [row] = [row for row in _findings(healthy, ExitCode.BAD_SETTINGS) if row["check"] == "process"]
    assert "there is no user 'nosuchuser'" in str(row["finding"])


def test_users_that_cannot_log_in(healthy: Cli) -> None:
    """A user without a usable key or password is a warning; a disabled one is none, for somebody meant it."""
    healthy("user", "passwd", "erp", "--remove")
    assert any("nobody can log in as erp" in str(row["finding"]) for row in _findings(healthy, code=0))
    healthy("user", "disable", "erp")
    assert not any("erp" in str(row["finding"]) for row in _findings(healthy, code=0))


def test_a_port_that_another_program_has(healthy: Cli) -> None:
    """A port that is taken by something that is no gate is an error."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        healthy.environment["SFTPGATE_PORT"] = str(other.getsockname()[1])
        other.listen()
        found = _findings(healthy, code=ExitCode.BAD_SETTINGS)
    assert any("used by another program" in str(row["finding"]) for row in found)


def test_files_that_do_not_belong_to_the_server(healthy: Cli) -> None:
    """What a command made as another user in the server's own directories is an error, with the command that repairs it."""
    ours = os.geteuid()
    managed = healthy.store / ".sftpgate"
    assert list(check_owners(ours, managed)) == []
    found = [finding for finding in check_owners(ours + 54321, managed) if finding.level is Level.ERROR]
    assert "does not belong to" in found[0].finding
    assert f"chown -R {ours + 54321} " in found[0].what_to_do


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw,relatime shared:2 - nfs4 files:/srv rw
31 30 0:41 / /srv/with\040blank rw - tmpfs tmpfs rw
32 22 0:42 / /mnt rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network", "volatile"),
    [
        ("/data", "ext4", False, False),
        ("/srv/data", "nfs4", True, False),
        ("/srvdata", "ext4", False, False),
        ("/srv/with blank/x", "tmpfs", False, True),
        ("/mnt/x", "fuse.sshfs", True, False),
    ],
)
def test_the_filesystem_of_a_path(path: str, kind: str, network: bool, volatile: bool) -> None:
    """The mount table says what a path is on: a network filesystem, or one that is lost at a restart."""
    mount = mount_of(Path(path), MOUNTS)
    assert mount is not None
    assert (mount.type, mount.is_network, mount.is_volatile) == (kind, network, volatile)


@pytest.mark.parametrize(
    ("options", "settings", "words", "admits"),
    [
        (("ecdsa",), {"ALGORITHMS": "hardened"}, "leaves out signatures of ecdsa-sha2-nistp256", 'algorithms to "default"'),
        (("rsa", "-b", "2048"), {"MIN_RSA_BITS": "3072"}, "2048 bits, fewer than the 3072", "min_rsa_bits to 2048"),
        (("ecdsa",), {}, None, ""),
        (("rsa", "-b", "2048"), {"ALGORITHMS": "hardened"}, None, ""),
    ],
)
def test_keys_that_the_settings_refuse(
    healthy: Cli, tmp_path: Path, options: tuple[str, ...], settings: dict[str, str], words: str | None, admits: str
) -> None:
    """A key that the profile or a least length refuses is named, with the setting that would admit it; others are not."""
    key = make_key(tmp_path / "id", *options)
    healthy("key", "add", "erp", f"{key.path}.pub")
    healthy.environment |= {f"SFTPGATE_{name}": value for name, value in settings.items()}
    fingerprint = keygen("-l", "-f", f"{key.path}.pub").split()[1]
    found = [row for row in _findings(healthy) if fingerprint in str(row["finding"])]
    if words is None:
        assert found == []
        return
    [row] = found
    assert words in str(row["finding"]) and admits in str(row["what_to_do"])
    assert [row["state"] for row in healthy("key", "list", "erp", "--json").rows] != ["active"]
    for name in settings:
        del healthy.environment[f"SFTPGATE_{name}"]
    assert [row for row in _findings(healthy) if fingerprint in str(row["finding"])] == []


def test_authorities_that_the_settings_refuse(healthy: Cli, tmp_path: Path) -> None:
    """An authority whose signatures the profile leaves out is named too: none of its certificates is accepted."""
    key = make_key(tmp_path / "ca", "ecdsa")
    healthy("key", "add", "erp", f"{key.path}.pub", "--authority")
    healthy.environment["SFTPGATE_ALGORITHMS"] = "hardened"
    [row] = [row for row in _findings(healthy) if "certificates signed by" in str(row["finding"])]
    assert 'algorithms to "default"' in str(row["what_to_do"])


def test_the_folder_of_a_batch_tool(healthy: Cli) -> None:
    """In front of a batch tool that sweeps the store, a folder in which it cannot make its lock file is an error."""
    (healthy.directory / "sftpgate.toml").write_text('handover = "lock.txt"\n')
    store = healthy.data / "store"
    [found] = [row for row in _findings(healthy, code=78) if row["check"] == "consumer"]
    assert found["level"] == "error" and "cannot create lock.txt" in str(found["finding"])
    assert str(found["what_to_do"]).startswith(f"chmod g+w {store}")
    store.chmod(0o777)
    assert [row for row in _findings(healthy) if row["check"] == "consumer"] == []


def test_rights_of_the_settings_and_modes_in_the_store(healthy: Cli) -> None:
    """A sftpgate.toml that everybody may change or read, and modes that differ from the settings, are found with what to do."""
    config = healthy.directory / "sftpgate.toml"
    config.write_text(
        config.read_text() + "\n[tools.secret]\nfile = 's.csv'\ncommand = ['cat']\nenvironment = {PASSWORD = 'x'}\n"
    )
    config.chmod(0o646)
    (healthy.data / "store").chmod(0o755)
    found = {str(row["finding"]): row for row in _findings(healthy, code=ExitCode.BAD_SETTINGS)}
    text = "\n".join(found)
    assert f"{config} can be changed by everybody" in text
    assert f"{config} can be read by everybody: there may be passwords in it" in text
    assert f"{healthy.data / 'store'} has the mode 755, and dir_mode is 750" in text
    assert all(row["what_to_do"] for row in found.values())


def test_tools_of_other_users(healthy: Cli) -> None:
    """A user that does not exist is found, and so is a sudo in a command whose user cannot read the file."""
    config = healthy.directory / "sftpgate.toml"
    config.write_text(
        "[tools.a]\nfile = 'a.csv'\ncommand = ['cat']\nrun_as = 'nobody-here'\n"
        "[tools.b]\nfile = 'b.csv'\ncommand = ['sudo', '-u', 'daemon', 'cat', '{file}']\n"
    )
    found = "\n".join(str(row["finding"]) for row in _findings(healthy, code=ExitCode.BAD_SETTINGS))
    assert "tools.a: run_as: there is no user 'nobody-here' on this machine" in found
    assert "tools.b: daemon c" in found  # cannot pass through a directory, or is not in the store's group

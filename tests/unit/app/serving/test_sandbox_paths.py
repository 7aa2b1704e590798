"""What a worker reaches, of which settings."""

from __future__ import annotations

from pathlib import Path

from sftpgate.app.serving.sandbox_paths import console_paths, sandbox_paths
from sftpgate.gateway.workers.sandbox import SCRATCH_VARIABLE
from sftpgate.settings.expect import ExpectSettings
from sftpgate.settings.reading import CONFIG_VARIABLE
from sftpgate.settings.tree import Settings


def test_everything_that_a_setting_names(tmp_path: Path) -> None:
    """Each directory that settings and environment name is reached, and nothing twice that lies in another one."""
    settings = Settings(
        data_dir=tmp_path / "data",
        store_dir=tmp_path / "store",
        drop_dir=tmp_path / "data/sync",
        keys_dir=tmp_path / "keys",
        ledger_url=f"sqlite:///{tmp_path}/ledger/ledger.db",
    )
    environ = {CONFIG_VARIABLE: str(tmp_path / "etc/sftpgate.toml"), SCRATCH_VARIABLE: str(tmp_path / "data/scratch")}
    paths = sandbox_paths(settings, environ)
    assert paths.writable == tuple(tmp_path / name for name in ("data", "keys/host", "ledger", "store"))
    assert paths.readable == tuple(tmp_path / name for name in ("etc", "keys"))


def test_links_of_the_keys_directory(tmp_path: Path) -> None:
    """A link that leads out of the keys directory is followed, one within it or to nothing needs no leave."""
    keys, elsewhere = tmp_path / "keys", tmp_path / "elsewhere"
    for directory in (keys / "users/in", keys / "host", elsewhere / "host"):
        directory.mkdir(parents=True)
    (elsewhere / "authorized_keys").touch()
    (keys / "users/in/authorized_keys").symlink_to(elsewhere / "authorized_keys")
    (keys / "users/within").symlink_to("in")
    (keys / "users/broken").symlink_to("nowhere")
    (keys / "host/ssh_host_rsa_key").symlink_to(elsewhere / "host")
    paths = sandbox_paths(Settings(data_dir=tmp_path / "data", keys_dir=keys), {})
    assert keys / "users/in/authorized_keys" in paths.readable
    assert keys / "host/ssh_host_rsa_key" in paths.writable
    assert not [path for path in paths.readable if path.name in ("within", "broken")]


def test_files_of_the_database(tmp_path: Path) -> None:
    """What a PostgreSQL URL or the library's own variables name is read; SQLite needs nothing of it."""
    url = f"postgresql://gate@db.example.org/ledger?sslrootcert={tmp_path}/root.crt&sslmode=verify-full"
    settings = Settings(data_dir=tmp_path / "data", keys_dir=tmp_path / "keys", ledger_url=url)
    environ = {"PGPASSFILE": f"{tmp_path}/pass", "PGUSER": "gate", "OTHER": "/root"}
    paths = sandbox_paths(settings, environ)
    assert {tmp_path / "root.crt", tmp_path / "pass"} <= set(paths.readable)
    assert Path("/root") not in paths.readable and Path("gate") not in paths.readable
    assert sandbox_paths(settings.model_copy(update={"ledger_url": None}), environ).readable == (tmp_path / "keys",)


def test_calendar_files(tmp_path: Path) -> None:
    """The directories of calendars are read, so that one that is replaced is read too."""
    table = ExpectSettings(path="a.csv", by=("0 5 * * *",), calendars=(tmp_path / "shared/holidays.ics",))
    settings = Settings(data_dir=tmp_path / "data", keys_dir=tmp_path / "keys", expect={"a": table})
    assert tmp_path / "shared" in sandbox_paths(settings, {}).readable


def test_api_and_console_have_no_host_keys(tmp_path: Path) -> None:
    """The process of API and console reaches users, and lists of revoked keys, but nothing of the server's own keys, also behind
    links.
    """
    keys, elsewhere = tmp_path / "keys", tmp_path / "elsewhere"
    for directory in (keys / "users/erp", keys / "host", elsewhere / "host"):
        directory.mkdir(parents=True)
    (keys / "host/ssh_host_rsa_key").symlink_to(elsewhere / "host")
    (keys / "revoked_keys").touch()
    paths = console_paths(Settings(data_dir=tmp_path / "data", keys_dir=keys), {})
    assert paths.writable == (tmp_path / "data", keys / "users")
    assert paths.readable == (keys / "revoked_keys",)

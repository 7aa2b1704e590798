"""What a worker reaches, of which settings."""

from __future__ import annotations

from pathlib import Path

from sftpgate.cli.reach import reach_of
from sftpgate.gateway.confinement import SCRATCH_VARIABLE
from sftpgate.settings import CONFIG_VARIABLE, Settings


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
    reach = reach_of(settings, environ)
    assert reach.writable == tuple(tmp_path / name for name in ("data", "keys/host", "ledger", "store"))
    assert reach.readable == tuple(tmp_path / name for name in ("etc", "keys"))


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
    reach = reach_of(Settings(data_dir=tmp_path / "data", keys_dir=keys), {})
    assert keys / "users/in/authorized_keys" in reach.readable
    assert keys / "host/ssh_host_rsa_key" in reach.writable
    assert not [path for path in reach.readable if path.name in ("within", "broken")]


def test_files_of_the_database(tmp_path: Path) -> None:
    """What a PostgreSQL URL or the library's own variables name is read; SQLite needs nothing of it."""
    url = f"postgresql://gate@db.example.org/ledger?sslrootcert={tmp_path}/root.crt&sslmode=verify-full"
    settings = Settings(data_dir=tmp_path / "data", keys_dir=tmp_path / "keys", ledger_url=url)
    environ = {"PGPASSFILE": f"{tmp_path}/pass", "PGUSER": "gate", "OTHER": "/root"}
    reach = reach_of(settings, environ)
    assert {tmp_path / "root.crt", tmp_path / "pass"} <= set(reach.readable)
    assert Path("/root") not in reach.readable and Path("gate") not in reach.readable
    assert reach_of(settings.model_copy(update={"ledger_url": None}), environ).readable == (tmp_path / "keys",)

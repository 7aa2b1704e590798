"""The settings: one frozen tree, read once by the command line and passed down.

How it is read is in ``reading``; its tables are in ``tools``, ``contracts``, ``expect`` and
``notify``.

Every field has a description, bounds and a unit; the table in docs/settings.md is generated from
them (``sftpgate settings``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sftpgate.hidden_names import BATCH_LOCK_NAME, COMPANION_SUFFIXES, IGNORED_SUFFIXES
from sftpgate.settings.choices import Algorithms, Durability, Handover, Language, Refuse, Sandbox
from sftpgate.settings.durations import Duration
from sftpgate.settings.expect import ExpectSettings, require_apart, require_names
from sftpgate.settings.notify import NotifySettings
from sftpgate.settings.tools import ToolSettings
from sftpgate.settings.values import Methods, Mode, Names, Networks

ENV_PREFIX = "SFTPGATE_"
LEAST_RSA_BITS = 1024  # shorter ones are within everybody's reach


class Settings(BaseSettings):
    """All settings of one gate."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
        env_ignore_empty=True,
    )

    # where to listen
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(2222, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1, description='worker processes that share the port: a number, or "auto" for one a processor'
    )

    # where things are
    data_dir: Path = Field(Path("data"), description="directory of drop, store and ledger, unless they are set on their own")
    keys_dir: Path = Field(Path("keys"), description="directory of host keys and users")
    store_dir: Path | None = Field(None, description="the store, what runners read; default: <data_dir>/store")
    drop_dir: Path | None = Field(None, description="the drop on disk; default: <data_dir>/sync")
    ledger_url: str = Field("", description="database URL of the ledger; default: SQLite in <data_dir>/ledger.db")
    drop_mount: str = Field("/sync", description="where a user sees the drop; a connection starts there", pattern=r"^(/[^/]+)+$")
    file_mode: Mode = Field(0o640, description="mode of files in the store, octal")
    dir_mode: Mode = Field(0o750, description="mode of directories in the store, octal")
    file_group: str = Field(
        "", description="group of files and directories in the store; default: the group of the server process"
    )

    # the hand-over
    durability: Durability = Field(
        Durability.FULL,
        description='"full": what CLOSE acknowledged survives a power cut; "relaxed": it survives a killed process only',
    )
    sweep_interval: Duration = Field(30.0, gt=0, description="seconds between two sweeps")
    settle_seconds: Duration = Field(
        10.0, description="seconds that a file in the drop must stay unchanged before the sweeper takes it"
    )
    partial_ttl: Duration = Field(86400.0, gt=0, description="seconds that an interrupted upload can be resumed")
    batch_lock_name: str = Field(
        BATCH_LOCK_NAME,
        min_length=1,
        description="while a sender's file of this name, in any letter case, lies in the drop, no file of that sender is taken",
    )
    batch_lock_ttl: Duration = Field(10800.0, gt=0, description="seconds after which such a lock is stale and passed over")
    refuse: Refuse = Field(
        Refuse.REPORT,
        description='how a sender learns that a contract objects to its file: "report", or "close": the CLOSE fails too, if the '
        "verdict is there in time; a user's own stands in user.toml",
    )
    refuse_wait: Duration = Field(
        0.05, gt=0, le=30, description='seconds that a CLOSE waits for the verdict, if refuse is "close"; later ones are reports'
    )
    rehearsal_dir: str = Field(
        "check",
        description="folder at the top of what a sender sees whose files are only tried: each gets a report of what the contract "
        "of its tool says, and is never handed over; if no tool has a contract, no folder is special",
    )
    rehearsal_ttl: Duration = Field(86400.0, gt=0, description="seconds after which what lies there is removed")
    ignored_suffixes: Names = Field(
        IGNORED_SUFFIXES, description="names that end so, in any letter case, are never taken (temporary names)"
    )
    ignore_made_up: bool = Field(
        True,
        description="never take names that programs make up while they write: NAME.<32 hex digits>, NAME.<UUID>, "
        "NAME.tmp.<number>, NAME.part-<number>, ~$NAME",
    )
    companion_suffixes: Names = Field(
        COMPANION_SUFFIXES, description="names that end so, in any letter case, speak of the file beside them and are never taken"
    )
    require_done_file: bool = Field(
        False,
        description="a file waits until NAME.done or NAME.ok lies beside it; for NAME.csv it may be NAME.csv.done or NAME.done",
    )
    handover: Handover = Field(
        Handover.TOOLS,
        description='who takes files from the store: "tools", or "lock.txt": a batch tool that sweeps its top level by itself '
        "and creates lock.txt meanwhile",
    )
    consumer_lock_ttl: Duration = Field(
        10800.0, gt=0, description="seconds after which lock.txt is stale and passed over, if handover is lock.txt"
    )
    language: Language = Field(Language.ENGLISH, description="language of reports: en or fr; a user's own stands in user.toml")
    receipts: bool = Field(
        True,
        description="write a signed receipt for each thing that happens to a sender's file; a user's own stands in user.toml",
    )
    consumer_interval: Duration = Field(
        3600.0,
        description="seconds after a file was taken before one that waits behind it comes up, if handover is lock.txt: the batch "
        "tool keeps one version of a name, and must have executed it by then",
    )
    reader_time: Duration = Field(
        3600.0,
        description="seconds that a plain program may take from opening a file in the store to removing it: a newer file that "
        "took its place meanwhile, and was removed instead, is put back; 0: never",
    )
    publish_suspect: bool = Field(False, description="publish uploads that look interrupted instead of holding them")

    # how long things are kept that nobody waits for; 0: without limit
    keep_archives: Duration = Field(31536000.0, description="seconds that files stay in archives; 0: for ever")
    keep_archives_bytes: ByteSize = Field(ByteSize(0), ge=0, description="bytes in archives, beyond which the oldest go; 0: any")
    keep_reports: Duration = Field(31536000.0, description="seconds that reports and rejected lines are kept; 0: for ever")
    keep_reports_bytes: ByteSize = Field(ByteSize(0), ge=0, description="bytes in reports, beyond which the oldest go; 0: any")
    keep_receipts: Duration = Field(31536000.0, description="seconds that receipts are kept; 0: for ever")
    keep_receipts_bytes: ByteSize = Field(ByteSize(0), ge=0, description="bytes of receipts, beyond which the oldest go; 0: any")
    keep_quarantine: Duration = Field(0.0, description="seconds that files stay in quarantine; 0: until an admin decides")
    keep_quarantine_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes in quarantine, beyond which the oldest go; 0: any"
    )
    keep_records: Duration = Field(
        94608000.0,
        description="seconds that the ledger knows arrivals whose files are gone, with their runs; a file that a backup brings "
        "back later is processed again; 0: for ever",
    )
    keep_events: Duration = Field(94608000.0, description="seconds that audit events are kept; 0: for ever")

    # limits
    max_upload_bytes: ByteSize = Field(ByteSize(16 * 1024**3), gt=0, description="largest upload, in bytes or as 512MiB")
    max_pending_bytes: ByteSize = Field(
        ByteSize(64 * 1024**3), gt=0, description="bytes that one user may have waiting, held and in staging"
    )
    max_pending_files: int = Field(200_000, gt=0, description="files that one user may have waiting, held and in staging")
    max_daily_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes that one user may send in one day of UTC; 0: any number"
    )
    max_directories: int = Field(
        5000, gt=0, description="directories in a user's home, or in the drop outside of all homes, beyond which no more are made"
    )
    free_space_floor: ByteSize = Field(
        ByteSize(256 * 1024**2), ge=0, description="bytes of free space below which uploads are refused"
    )
    max_handles: int = Field(1024, ge=8, le=65536, description="open handles of one SFTP session")
    max_connections: int = Field(2000, ge=1, description="connections at a time")
    max_unauthenticated: int = Field(
        500, ge=1, description="connections that have not logged in yet, at a time; past it those that stand still are dropped"
    )
    max_unauthenticated_per_address: int = Field(200, ge=1, description="the same for one address (of IPv6: one /64)")
    max_auth_attempts: int = Field(6, ge=1, le=100, description="login attempts of one connection")
    max_connections_per_user: int = Field(100, ge=1, le=10_000, description="connections of one user at a time")
    max_sessions_per_connection: int = Field(10, ge=1, le=1000, description="SFTP sessions in one connection")
    max_sessions_per_user: int = Field(200, ge=1, le=10_000, description="SFTP sessions of one user at a time")
    login_timeout: Duration = Field(60.0, gt=0, description="seconds that a client has to log in")
    idle_timeout: Duration = Field(
        1800.0, description="seconds without a request after which a session or connection is ended; 0: never"
    )
    connection_time_max: Duration = Field(0.0, description="seconds after which a connection is ended in any case; 0: never")
    max_bytes_per_second: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes a second that one user may send and fetch, over all its sessions; 0: any number"
    )
    keepalive_interval: Duration = Field(
        30.0,
        description="seconds between keepalives; a client whose machine acknowledges nothing for four of them is cut off, one "
        "that is only busy is not; 0: none",
    )
    shutdown_grace: Duration = Field(30.0, description="seconds that uploads in flight have to finish at SIGTERM")

    # monitoring
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="port of metrics (/metrics) and health (/healthz); 0 takes a free one; default: none"
    )
    metrics_host: str = Field("127.0.0.1", description="address of that port; it has no login: leave it on the loopback")

    # API and console
    console_port: int | None = Field(
        None, ge=0, le=65535, description="port of the API and the console; 0 takes a free one; default: none"
    )
    console_host: str = Field("127.0.0.1", description="address of that port")
    console_tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate of that port, and of those above it; default: no TLS, for a proxy in front"
    )
    console_tls_key: Path | None = Field(None, description="PEM file of its private key, without a password")
    console_proxies: Networks = Field(
        (), description="networks of HTTP proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )

    # strangers
    trusted_networks: Networks = Field((), description="networks that are never banned, such as 10.0.0.0/8")
    ban_threshold: float = Field(
        10.0, ge=0, description="score of failed logins at which an address is banned (docs/security.md); 0: never"
    )
    ban_half_life: Duration = Field(600.0, gt=0, description="seconds in which such a score halves")
    ban_time: Duration = Field(600.0, gt=0, description="seconds of an address's first ban; each later one is twice as long")
    ban_time_max: Duration = Field(86400.0, gt=0, description="seconds of the longest ban")
    proxy_protocol_from: Networks = Field(
        (), description="networks of proxies: their connections must begin with a PROXY header (version 1 or 2)"
    )
    proxy_protocol_timeout: Duration = Field(5.0, gt=0, le=60, description="seconds that a proxy has for that header")

    # the process
    run_as: str = Field("", description="user that the server becomes when it was started as root and listens")
    allow_root: bool = Field(False, description="let the server run as root without a warning")
    sandbox: Sandbox = Field(
        Sandbox.AUTO,
        description='"auto": the kernel keeps the server to its directories, if it can; "required": or no start; "off"',
    )

    # SSH
    algorithms: Algorithms = Field(Algorithms.DEFAULT, description='"default", "hardened" or "legacy"')
    min_rsa_bits: int = Field(2048, ge=LEAST_RSA_BITS, le=16384, description="smallest RSA key of a user")
    required_auth: Methods = Field(
        (), description="what a login takes, in order: publickey password for both; empty: one of them"
    )
    fast_path: bool = Field(True, description="a quicker way through the SSH library; false, should it ever be suspected")
    sftp_version: int = Field(3, ge=3, le=6, description="highest SFTP protocol version offered")
    expiry_warning: Duration = Field(
        1209600.0, description="seconds before its end from which on a user or key that expires is warned of"
    )

    # logs and tools
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    tools: Mapping[str, ToolSettings] = Field(default_factory=dict, description="the tools, one [tools.NAME] table each")
    expect: Mapping[str, ExpectSettings] = Field(
        default_factory=dict,
        description="the files that are to arrive by a time, one [expect.NAME] table each (docs/expected-files.md)",
    )
    notify: NotifySettings = Field(
        default_factory=lambda: NotifySettings(), description="who is told of what, the tables [notify…] (docs/notifications.md)"
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value != ""} if isinstance(data, dict) else data

    @field_validator("rehearsal_dir")
    @classmethod
    def _is_one_name(cls, value: str) -> str:
        if "/" in value or value[:1] in (".", "_") or value != value.strip() or not value.isprintable():
            raise ValueError("one name of a folder is meant, such as check, that begins with neither a dot nor an underscore")
        return value

    @property
    def rehearsal_folder(self) -> str:
        """The name of the rehearsal folder; empty if no tool has a contract."""
        return self.rehearsal_dir if any(tool.contract is not None for tool in self.tools.values()) else ""

    @field_validator("expect")
    @classmethod
    def _each_file_once(cls, value: Mapping[str, ExpectSettings]) -> Mapping[str, ExpectSettings]:
        require_names(value)
        require_apart(value)
        return value

    @model_validator(mode="after")
    def _both_halves_of_tls(self) -> Self:
        if (self.console_tls_certificate is None) != (self.console_tls_key is None):
            raise ValueError("console_tls_certificate and console_tls_key belong together: set both, or none")
        return self

    @model_validator(mode="after")
    def _rehearsals_apart(self) -> Self:
        folder = self.rehearsal_folder
        for name, tool in self.tools.items():
            if folder and (inside := [file for file in tool.files if file.startswith(f"{folder}/")]):
                raise ValueError(
                    f"rehearsal_dir: files in {folder}/ are never handed over, and tools.{name} is pointed at "
                    f"{inside[0]!r}; name another folder for rehearsals"
                )
        return self

    @model_validator(mode="after")
    def _one_consumer(self) -> Self:
        if self.handover is Handover.LOCK_TXT:
            for name, tool in self.tools.items():
                if top := [file for file in tool.files if "/" not in file]:
                    raise ValueError(
                        f"handover: the batch tool takes every file at the top of the store, also {top[0]!r} of tools.{name}; "
                        'point that tool at a file in a subdirectory, or set handover to "tools"'
                    )
        return self

    @property
    def drop(self) -> Path:
        """The drop's directory on disk."""
        return self.drop_dir or self.data_dir / "sync"

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.store_dir or self.data_dir / "store"

    @property
    def worker_count(self) -> int:
        """How many worker processes there are."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers

    @property
    def ledger(self) -> str:
        """The ledger's database URL."""
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment go over the values of the TOML file, which come in as keyword arguments."""
        return env_settings, init_settings
